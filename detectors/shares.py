"""Two-level series of every feature: the shares of missing values and of type errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors import lines
from detectors.growth import share_changed
from detectors.layout import Counts, FeatureLayout
from detectors.lines import MIN_RISE
from detectors.numeric import pad_last
from schemas.results import Test

DISPLAY_Z = 4.0
"""The line that is shown; the decision itself is the beta-binomial tail."""


class ShareRule:
    """Tests missing values and type errors of all features at once.

    Parameters
    ----------
    parts
        All features, in the baseline's order.
    n
        Reference rows.
    """

    def __init__(self, parts: Sequence[FeatureLayout], n: int) -> None:
        series = [s for part in parts for s in (part.feature.missing, part.feature.type_errors)]
        self._positions = np.array([x for part in parts for x in (part.missing, part.type_errors)], np.int64)
        self._n = n
        self._reference = np.array([s.n for s in series], np.int64)
        self._effect = np.array([s.effect for s in series], np.float64)
        self._coarse = pad_last([s.coarse for s in series])
        self._batch_rows = np.array([s.batch_rows for s in series], np.float64)

    def score(self, counts: Counts, rows: int, a: float, judged: bool) -> list[Test]:
        """Return one test a feature: the series that drifted, or changed most. `rows` is at least 1."""
        current = counts[self._positions]
        ones = np.ones(current.size)
        sizes = lines.Sizes(ones * self._n, ones * rows, self._batch_rows, 0 * ones, 0 * ones)
        effect = np.maximum(self._effect * np.maximum(lines.interpolate(self._coarse, sizes), 1.0), 1.0)
        before, after = self._reference / self._n, current / rows
        change = np.abs(after - before)
        drifted = np.zeros(current.size, np.bool_)
        if judged:
            for i in np.nonzero(change >= MIN_RISE)[0].tolist():
                drifted[i] = share_changed(
                    a / 2, int(self._reference[i]), self._n, int(current[i]), rows, float(effect[i])
                )
        spread = np.sqrt(np.maximum(before * (1 - before), 1 / self._n) * effect * (1 / self._n + 1 / rows))
        line = before + np.maximum(MIN_RISE, DISPLAY_Z * spread)
        worse = np.lexsort((-change.reshape(-1, 2), ~drifted.reshape(-1, 2)), axis=1)[:, 0] + np.arange(
            0, current.size, 2
        )
        return [
            Test(value, noise, top, effect, None, flag)
            for value, noise, top, effect, flag in zip(
                *(x[worse].tolist() for x in (after, before, line, change, drifted)), strict=True
            )
        ]
