"""The tests of all numeric features of a window at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from detectors import lines
from detectors.calibration import score_weights
from detectors.growth import Cells, Growth, grown
from detectors.layout import Counts, FeatureLayout, NumericLayout
from detectors.lines import Gates, Line, Sizes
from detectors.statistics import STATISTICS
from schemas.baselines import Calibration, Spread

Floats = NDArray[np.float64]


MIN_ROWS = 100


class Tested(NamedTuple):
    """One test of all features: values, lines, effects and intervals, shape (features,)."""

    value: Floats
    line: Line
    effect: Floats
    low: Floats
    high: Floats
    drifted: NDArray[np.bool_]


class Scored(NamedTuple):
    """All tests of all features of one kind in one window."""

    rows: Any
    insufficient: NDArray[np.bool_]
    tests: dict[str, Tested]
    growth: Growth


def pad(rows: Sequence[Any], fill: float, dtype: Any = np.float64) -> Any:
    """Return rows of different lengths as one array, shape (rows, longest)."""
    width = max((len(row) for row in rows), default=0)
    table = np.full((len(rows), width), fill, dtype)
    for target, row in zip(table, rows, strict=True):
        target[: len(row)] = row
    return table


def pad_last(rows: Sequence[Sequence[float]]) -> Floats:
    """Return tables of inflation as one array; short ones go on with their last value."""
    width = max((len(row) for row in rows), default=1)
    return np.array([[*row, *[row[-1]] * (width - len(row))] for row in rows], np.float64)


class NumericRule:
    """Everything about the reference that scoring needs, laid out once.

    Parameters
    ----------
    parts
        Layouts of numeric features whose baselines are calibrated.
    """

    def __init__(self, parts: Sequence[NumericLayout], size: int, gates: Gates, strict: bool) -> None:
        self._gates, self._strict = gates, strict
        calibrations = [calibration_of(part) for part in parts]
        widest = max((part.n_cells for part in parts), default=1)
        self._index = np.full((len(parts), widest), size, np.int64)
        for row, part in zip(self._index, parts, strict=True):
            row[: part.n_cells] = np.arange(part.cells.start, part.cells.stop)
        counts = [part.feature.counts.numpy() for part in parts]
        self._reference = pad(counts, 0, np.int64)
        self._n = self._reference.sum(1).astype(np.float64)
        self._cumulative = self._reference.cumsum(1) / self._n[:, None]
        weights = [score_weights(row) for row in counts]
        self._g1, self._g2 = pad([w[0] for w in weights], 0.0), pad([w[1] for w in weights], 0.0)
        ends = [part.bin_ends for part in parts]
        self._ends = pad(ends, widest - 1, np.int64)
        self._n_bins = np.array([len(row) for row in ends])
        self._bins = np.diff(np.take_along_axis(self._reference.cumsum(1), self._ends, 1), axis=1, prepend=0)
        moments = [calibration.pools[0].moments for calibration in calibrations]
        self._moments = tuple(
            np.array([getattr(m, name) for m in moments], np.float64) for name in ("l1", "l2", "l3", "day_excess")
        )
        self._coarse = pad_last([m.coarse for m in moments])
        self._d_max = np.array([c.ks.variance for c in calibrations])
        self._ks_excess = np.array([c.ks.day_excess for c in calibrations])
        self._location = _spreads([c.location for c in calibrations])
        self._scale = _spreads([c.scale for c in calibrations])
        self._batch_rows = np.array([c.batch_rows for c in calibrations], np.float64)
        self._days = np.array([c.days for c in calibrations], np.float64)
        self._day_rows = np.array([c.day_rows for c in calibrations])
        l1, degrees = self._moments[0], self._n_bins - 1.0
        self._floor = np.divide(degrees, l1, out=np.ones_like(l1), where=l1 > 0)
        self._ratio = np.maximum(np.divide(l1, degrees, out=np.ones_like(l1), where=degrees > 0), 1.0)
        real = np.arange(widest) < np.array([part.n_cells for part in parts])[:, None]
        self._empty = real & (self._reference == 0)
        effects = np.maximum(pad([c.cell_effects.numpy() for c in calibrations], 1.0), self._ratio[:, None])
        n_tests = (self._reference > 0).sum(1) + 2
        self._cells = Cells(self._reference, effects, self._n, None, n_tests)
        self.n_effective = self._n / self._d_max

    def score(self, vector: Counts, a: float) -> Scored:
        """Score a window; `vector` is its counts with a zero appended, `a` the significance of one test."""
        cells = vector[self._index]
        total = cells.cumsum(1)
        rows = total[:, -1].astype(np.float64)
        m = np.maximum(rows, 1.0)
        sizes = Sizes(self._n, m, self._batch_rows, self._days, self._day_rows)
        coarse = lines.inflation(lines.interpolate(self._coarse, sizes), self._floor)
        insufficient = (rows < MIN_ROWS) | (m / (self._d_max * np.maximum(coarse, 1.0)) < lines.MIN_EFFECTIVE)
        bins = np.diff(np.take_along_axis(total, self._ends, 1), axis=1, prepend=0)
        tests = {
            "psi": self._psi(bins, a, sizes, coarse),
            "ks": self._ks(total, a, sizes, coarse),
            **self._scores(cells, a, m, sizes),
        }
        off = (self._moments[3] > 0) | (self._ks_excess > 0)
        novel = np.where(self._empty, cells, 0).sum(1)
        growth = grown(a, self._cells, cells, novel, m, coarse, self._ratio, off)
        return Scored(rows, insufficient, tests, growth)

    def _psi(self, bins: Floats, a: float, sizes: Sizes, coarse: Floats) -> Tested:
        value = STATISTICS["psi"](self._bins, bins, self._n_bins)
        line = lines.psi_line(a, self._gates.psi, self._strict, sizes, coarse, self._moments)
        effect = value - line.noise
        low, high = lines.psi_interval(effect, line.spread, self._moments[1], self._moments[2])
        return Tested(value, line, effect, low, high, value > line.line)

    def _ks(self, total: Counts, a: float, sizes: Sizes, coarse: Floats) -> Tested:
        value = np.abs(self._cumulative - total / sizes.m[:, None]).max(1)
        line = lines.ks_line(a, self._gates.ks, self._strict, sizes, coarse, self._d_max, self._ks_excess)
        half = lines.KS_INTERVAL * line.spread
        return Tested(value, line, value - line.noise, np.maximum(value - half, 0), value + half, value > line.line)

    def _scores(self, cells: Counts, a: float, m: Floats, sizes: Sizes) -> dict[str, Tested]:
        shares = cells / m[:, None]
        location = np.einsum("fc,fc->f", shares, self._g1)
        scale = np.einsum("fc,fc->f", shares, self._g2) - location**2
        tests = {}
        for name, value, (variance, table, excess), gate in (
            ("location", location, self._location, self._gates.location),
            ("scale", scale, self._scale, self._gates.scale),
        ):
            line, df = lines.score_line(a, gate, self._strict, sizes, table, variance, excess)
            half = stdtrit(df, 0.975) * line.spread
            drifted = (np.abs(value) > line.line) & (self._n_bins > 1)
            tests[name] = Tested(value, line, np.abs(value), value - half, value + half, drifted)
        return tests


def calibration_of(part: FeatureLayout) -> Calibration:
    """Return the calibration of a feature that has one."""
    if part.feature.calibration is None:
        raise ValueError(f"feature {part.name!r} is not calibrated")
    return part.feature.calibration


def _spreads(spreads: Sequence[Spread | None]) -> tuple[Floats, Floats, Floats]:
    found = [spread or Spread(0.0) for spread in spreads]
    variance = np.array([spread.variance for spread in found], np.float64)
    excess = np.array([spread.day_excess for spread in found], np.float64)
    return variance, pad_last([spread.coarse for spread in found]) if found else np.ones((0, 1)), excess
