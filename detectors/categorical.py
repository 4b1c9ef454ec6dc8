"""The tests of one categorical feature of a window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors import lines
from detectors.growth import Cells, grown
from detectors.layout import CategoricalLayout, Counts
from detectors.lines import Gates, Sizes
from detectors.numeric import Scored, Tested
from detectors.statistics import STATISTICS
from schemas.baselines import Pool

Floats = NDArray[np.float64]


class CategoricalRule:
    """Scores one categorical feature whose baseline is calibrated.

    PSI leaves out what the reference does not know, unless the reference itself has levels seen
    once or not kept: those and what is not known are exchangeable and share one bin.
    """

    def __init__(self, part: CategoricalLayout, gates: Gates, strict: bool) -> None:
        feature, calibration = part.feature, part.feature.calibration
        if calibration is None:
            raise ValueError(f"feature {part.name!r} is not calibrated")
        self._part, self._gates, self._strict, self._calibration = part, gates, strict, calibration
        self._reference = feature.counts.numpy().astype(np.int64)
        self._n = np.array([float(feature.rows)])
        self._pool_novel = bool(feature.n_other or feature.n_singletons)
        self._n_other = feature.n_other
        ratio = calibration.ks.variance
        effects = np.maximum(calibration.cell_effects.numpy().astype(np.float64), ratio)[None, :]
        novel_count = np.array([float(feature.n_singletons + feature.n_other)])
        self._cells = Cells(self._reference[None, :], effects, self._n, novel_count, self._reference.size + 2)
        self._ratio = np.array([ratio])
        self.n_effective = float(feature.rows) / ratio

    def _pool(self, rows: int) -> Pool:
        log2_rows = max(rows, 1).bit_length() - 1
        pools = self._calibration.pools
        return next((pool for pool in reversed(pools) if pool.log2_rows <= log2_rows), pools[0])

    def score(self, vector: Counts, a: float) -> Scored:
        """Score a window; `a` is the significance of one test."""
        part, calibration = self._part, self._calibration
        levels = vector[part.cells]
        novel = int(vector[part.other]) + int(vector[part.unseen])
        rows = int(levels.sum()) + novel
        pool = self._pool(rows)
        reference, current = self._pooled(self._reference, self._n_other, pool), self._pooled(levels, novel, pool)
        m = np.array([float(max(rows, 1))])
        per_batch, days, day_rows = (
            np.array([float(x)]) for x in (calibration.batch_rows, calibration.days, calibration.day_rows)
        )
        binned = Sizes(np.array([float(reference.sum())]), np.maximum(current.sum(), 1.0), per_batch, days, day_rows)
        moments = pool.moments
        l1, l2, l3, excess = (np.array([x]) for x in (moments.l1, moments.l2, moments.l3, moments.day_excess))
        floor = (moments.bins - 1) / l1 if moments.l1 > 0 else np.ones(1)
        coarse = lines.inflation(lines.interpolate(np.array([moments.coarse]), binned), floor)
        insufficient = np.array([rows < 100 or rows / (float(self._ratio[0]) * max(float(coarse[0]), 1.0)) < 50])
        tests: dict[str, Tested] = {}
        if reference.size > 1:
            value = np.atleast_1d(STATISTICS["psi"](reference, current))
            line = lines.psi_line(a, self._gates.psi, self._strict, binned, coarse, (l1, l2, l3, excess))
            effect = value - line.noise
            low, high = lines.psi_interval(effect, line.spread, l2, l3)
            tests["psi"] = Tested(value, line, effect, low, high, (value > line.line) & (current.sum() >= 100))
        growth = grown(
            a,
            self._cells,
            levels[None, :],
            np.array([float(novel)]),
            m,
            np.maximum(coarse, 1.0),
            self._ratio,
            np.zeros(1, np.bool_),
        )
        return Scored(np.array([float(rows)]), insufficient, tests, growth)

    def _pooled(self, levels: Counts, novel: int, pool: Pool) -> Counts:
        rare = int(levels[pool.n_levels :].sum()) + (novel if self._pool_novel else 0)
        frequent = levels[: pool.n_levels]
        return frequent if pool.moments.bins == pool.n_levels else np.append(frequent, rare)
