"""The tests of all categorical features of a window at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import lines
from detectors.growth import Cells, grown
from detectors.layout import CategoricalLayout, Counts
from detectors.lines import Gates, Sizes
from detectors.numeric import Scored, Tested, calibration_of, pad
from detectors.statistics import STATISTICS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_BINNED_ROWS = 100


class CategoricalRule:
    """Everything about the reference that scoring labels needs, laid out once.

    PSI leaves out what the reference does not know, unless the reference itself has levels seen
    once or not kept: those and what is not known are exchangeable, and share one bin.

    Parameters
    ----------
    parts
        Layouts of categorical features whose baselines are calibrated.
    """

    def __init__(self, parts: Sequence[CategoricalLayout], size: int, gates: Gates, strict: bool) -> None:
        self._gates, self._strict = gates, strict
        features = [part.feature for part in parts]
        calibrations = [calibration_of(part) for part in parts]
        self._index = pad([range(part.cells.start, part.cells.stop) for part in parts], size, np.int64)
        self._novel = np.array([(part.other, part.unseen) for part in parts], np.int64).reshape(-1, 2)
        self._reference: Ints = pad([feature.counts.numpy() for feature in features], 0, np.int64)
        self._n = np.array([float(feature.rows) for feature in features])
        self._pools_novel = np.array([bool(feature.n_other or feature.n_singletons) for feature in features])
        self._n_other = np.array([feature.n_other for feature in features], np.int64)
        self._first_log2 = pad([[pool.log2_rows for pool in c.pools] for c in calibrations], 99, np.int64)
        self._n_levels = pad([[pool.n_levels for pool in c.pools] for c in calibrations], 0, np.int64)
        moments = [[pool.moments for pool in c.pools] for c in calibrations]
        self._n_bins = pad([[m.bins for m in row] for row in moments], 0, np.int64)
        self._moments = [
            pad([[getattr(m, name) for m in row] for row in moments], 0.0) for name in ("l1", "l2", "l3", "day_excess")
        ]
        lengths = max((len(m.coarse) for row in moments for m in row), default=1)
        self._coarse = np.ones((len(parts), self._n_bins.shape[1], lengths))
        for table, row in zip(self._coarse, moments, strict=True):
            for target, m in zip(table, row, strict=False):
                target[:] = m.coarse[-1]
                target[: len(m.coarse)] = m.coarse
        self._batch_rows = np.array([c.batch_rows for c in calibrations], np.float64)
        self._days = np.array([c.days for c in calibrations], np.float64)
        self._day_rows = np.array([c.day_rows for c in calibrations])
        self._ratio = np.array([c.ks.variance for c in calibrations])
        effects = np.maximum(pad([c.cell_effects.numpy() for c in calibrations], 1.0), self._ratio[:, None])
        novel_count = np.array([float(feature.n_singletons + feature.n_other) for feature in features])
        n_tests = (self._reference > 0).sum(1) + 2
        self._cells = Cells(self._reference, effects, self._n, novel_count, n_tests)
        self.n_effective = self._n / self._ratio if parts else self._n

    def score(self, vector: Counts, a: float) -> Scored:
        """Score a window; `vector` is its counts with a zero appended, `a` the significance of one test."""
        levels = vector[self._index]
        novel = vector[self._novel].sum(1)
        rows = levels.sum(1) + novel
        m = np.maximum(rows, 1).astype(np.float64)
        every = np.arange(rows.size)
        pool = np.maximum((self._first_log2 <= np.floor(np.log2(m))[:, None]).sum(1) - 1, 0)
        n_levels, n_bins = self._n_levels[every, pool], self._n_bins[every, pool]
        reference = self._pooled(self._reference, self._n_other, n_levels, n_bins)
        current = self._pooled(levels, novel, n_levels, n_bins)
        n_binned, m_binned = reference.sum(1), current.sum(1)
        sizes = Sizes(
            np.maximum(n_binned, 1.0), np.maximum(m_binned, 1.0), self._batch_rows, self._days, self._day_rows
        )
        moments: Any = tuple(table[every, pool] for table in self._moments)
        l1 = moments[0]
        floor = np.divide(n_bins - 1.0, l1, out=np.ones_like(l1), where=l1 > 0)
        coarse = lines.inflation(lines.interpolate(self._coarse[every, pool], sizes), floor)
        insufficient = (rows < MIN_BINNED_ROWS) | (m / (self._ratio * np.maximum(coarse, 1.0)) < lines.MIN_EFFECTIVE)
        value = STATISTICS["psi"](reference, current, np.maximum(n_bins, 1))
        line = lines.psi_line(a, self._gates.psi, self._strict, sizes, coarse, moments)
        effect = value - line.noise
        low, high = lines.psi_interval(effect, line.spread, moments[1], moments[2])
        tests = {"psi": Tested(value, line, effect, low, high, (value > line.line) & (m_binned >= MIN_BINNED_ROWS))}
        off = np.zeros(rows.size, np.bool_)
        growth = grown(a, self._cells, levels, novel, m, np.maximum(coarse, 1.0), self._ratio, off)
        return Scored(rows, insufficient, tests, growth)

    def _pooled(self, levels: Ints, novel: Ints, n_levels: Ints, n_bins: Ints) -> Ints:
        """Return the rows per bin of PSI: frequent levels, then the shared bin where there is one."""
        frequent = np.arange(levels.shape[1]) < n_levels[:, None]
        bins = np.zeros((levels.shape[0], levels.shape[1] + 1), np.int64)
        bins[:, :-1] = np.where(frequent, levels, 0)
        rare = np.where(frequent, 0, levels).sum(1) + np.where(self._pools_novel, novel, 0)
        bins[np.arange(n_levels.size), n_levels] += np.where(n_bins > n_levels, rare, 0)
        return bins
