"""The alarm lines of the default rule, for many features at once.

Everything takes and returns arrays of shape (features,). `a` is the significance of one test.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, kolmogi, ndtri, stdtrit

from detectors.calibration import N_BATCHES
from schemas.monitors import Sensitivity

Floats = NDArray[np.float64]

SCALE_WEIGHTS = {1: 0.5, 5: 0.3, 25: 0.2}
OTHER_SCALE_WEIGHT = 0.2
KS_NOISE = 0.8687
"""Mean of the Kolmogorov distribution; 1.358 is its upper 5 % point."""
KS_INTERVAL = 1.358
MIN_RISE = 0.01
MIN_EFFECTIVE = 50
"""A window worth fewer independent rows than this is not judged."""
DF = N_BATCHES - 1


class Gates(NamedTuple):
    """The smallest effects worth an alarm."""

    psi: float
    ks: float
    location: float
    scale: float
    share: float = MIN_RISE
    growth: float = MIN_RISE


GATES: dict[Sensitivity, Gates] = {
    "default": Gates(0.02, 0.05, 0.125, 0.2),
    "high": Gates(0.005, 0.025, 0.0625, 0.1),
    "strict": Gates(0.02, 0.05, 0.125, 0.2),
}


class Sizes(NamedTuple):
    """Rows of reference and window, rows of a batch and of a day, number of days (0: none)."""

    n: Floats
    m: Floats
    batch_rows: Floats
    days: Floats
    day_rows: Floats

    @property
    def s0(self) -> Floats:
        """``1/N + 1/M``."""
        return 1 / self.n + 1 / self.m

    @property
    def day_weight(self) -> Floats:
        """How much of the day component a window holds, 0 (a batch or less) to 1 (a day or more)."""
        width = np.maximum(self.day_rows - self.batch_rows, 1.0)
        return np.where(self.days > 0, np.clip((self.m - self.batch_rows) / width, 0.0, 1.0), 0.0)


def significance(budget: float, n_series: int, windows_per_week: float, scale: int, scales: list[int]) -> float:
    """Return the significance of one test, so that all tests of a week add up to the budget.

    >>> round(significance(1.0, 50, 168.0, 1, [1]) * 5 * 50 * 168, 9)
    1.0
    """
    weights = {k: SCALE_WEIGHTS.get(k, OTHER_SCALE_WEIGHT) for k in {*scales, scale}}
    share = weights[scale] / sum(weights.values())
    return min(budget * share / (n_series * windows_per_week) / 5, 0.2)


def interpolate(table: Floats, sizes: Sizes) -> Floats:
    """Return the inflation at M rows; `table` holds it at 1, 2, 4, ... batches, shape (features, lengths)."""
    last = table.shape[1] - 1
    at = np.clip(np.log2(np.maximum(sizes.m, 1.0) / sizes.batch_rows), 0.0, last)
    low = np.minimum(at.astype(np.int64), max(last - 1, 0))
    rows = np.arange(table.shape[0])
    high = np.minimum(low + 1, last)
    mixed: Floats = table[rows, low] + (at - low) * (table[rows, high] - table[rows, low])
    return mixed


def inflation(raw: Floats, floor: Floats) -> Floats:
    """Return the inflation to use: above 1 as it is, to 1/2 one, below 1.3 times it but at least `floor`.

    Below 1/2 whole cycles cancel, as in windows of a day or a week.
    """
    return np.where(raw >= 1, raw, np.where(raw >= 0.5, 1.0, np.maximum(1.3 * raw, floor)))


def day_variance(variance: Floats, excess: Floats, sizes: Sizes) -> tuple[Floats, Floats]:
    """Return the variance of window minus reference with the day component, and its degrees of freedom."""
    of_days = sizes.day_weight * excess / sizes.m + excess / sizes.n
    total = variance * sizes.s0 + of_days
    part = np.divide(of_days, total, out=np.zeros_like(total), where=total > 0)
    nu = np.maximum(sizes.days - 1, 1.0)
    return total, 1 / ((1 - part) ** 2 / DF + part**2 / nu)


class Line(NamedTuple):
    """What noise alone would show on average, and the value above which a test alarms."""

    noise: Floats
    line: Floats
    spread: Floats


def psi_line(a: float, gate: float, strict: bool, sizes: Sizes, coarse: Floats, moments: Any) -> Line:
    """Return the line of PSI; `moments` has arrays l1, l2, l3, day_excess. Zero where there is one bin."""
    l1, l2, l3, excess = moments
    real = l1 > 0
    l1, l2, l3 = (np.where(real, x, 1.0) for x in (l1, l2, l3))
    s = sizes.s0 * coarse
    nu = l2**3 / l3**2
    tail = s * (l1 + np.sqrt(2 * l2) * (chdtri(nu, a) - nu) / np.sqrt(2 * nu))
    of_days = sizes.day_weight * excess / sizes.m + excess / sizes.n
    with_days = sizes.s0 * l1 + of_days * stdtrit(np.maximum(sizes.days - 1, 1.0), 1 - a / 2) ** 2
    tail = np.where(excess > 0, np.maximum(tail, with_days), tail)
    noise = s * l1
    if strict:
        at_gate = gate + noise + ndtri(1 - a) * np.sqrt(2 * l2 * s**2 + 4 * s * l3 / l2 * gate)
        line = np.maximum(tail, at_gate)
    else:
        line = np.maximum(tail, gate + noise)
    return Line(np.where(real, noise, 0.0), np.where(real, line, np.inf), s)


def psi_interval(effect: Floats, s: Floats, l2: Floats, l3: Floats) -> tuple[Floats, Floats]:
    """Return the 95 % interval of the effect of PSI, cut at 0."""
    part = np.divide(l3, l2, out=np.zeros_like(l3), where=l2 > 0)
    half = 1.96 * np.sqrt(2 * l2 * s**2 + 4 * s * part * np.maximum(effect, 0.0))
    return np.maximum(effect - half, 0.0), np.maximum(effect + half, 0.0)


def ks_line(a: float, gate: float, strict: bool, sizes: Sizes, coarse: Floats, d_max: Floats, excess: Floats) -> Line:
    """Return the line of the Kolmogorov-Smirnov statistic."""
    root = np.sqrt(sizes.s0 * np.maximum(coarse * d_max, 1.0))
    tail = root * kolmogi(a)
    _, df = day_variance(d_max, excess, sizes)
    tail = np.where(excess > 0, np.maximum(tail, root / 2 * stdtrit(df, 1 - a / 2)), tail)
    noise = KS_NOISE * root
    line: Floats = np.maximum(tail + gate if strict else tail, gate + noise)
    return Line(noise, line, root)


def score_line(
    a: float, gate: float, strict: bool, sizes: Sizes, table: Floats, variance: Floats, excess: Floats
) -> tuple[Line, Floats]:
    """Return the line of a score (noise: its standard error) and its degrees of freedom."""
    coarse = np.maximum(interpolate(table, sizes), 1.0)
    with_days, df = day_variance(variance, excess, sizes)
    se = np.sqrt(np.maximum(variance * coarse * sizes.s0, with_days))
    tail = stdtrit(df, 1 - a / 2) * se
    line: Floats = np.maximum(tail + gate if strict else tail, gate)
    return Line(se, line, se), df
