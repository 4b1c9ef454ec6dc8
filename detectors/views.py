"""Reading a window's vector: rows, moments, bins and words of one feature."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

from detectors.layout import CategoricalLayout, Counts, FeatureLayout, NumericLayout
from detectors.words import N_SHOWN_LEVELS, NOT_SHOWN, range_in_words, shares_in_words

N_TOP = 3


def n_used(part: FeatureLayout, counts: Counts) -> int:
    """Return the rows of a window with a usable value of the feature."""
    n = int(counts[part.cells].sum())
    return n if isinstance(part, NumericLayout) else n + int(counts[part.other]) + int(counts[part.unseen])


def mean_sd(part: NumericLayout, counts: Counts) -> tuple[float, float]:
    """Return mean and standard deviation (n - 1) of a window in the feature's own units; NaN without rows."""
    n = int(counts[part.n_finite])
    if n == 0:
        return float("nan"), float("nan")
    first, second = int(counts[part.sum1]), int(counts[part.sum2])
    variance = (second - first * first / n) / max(n - 1, 1)
    return part.mean + first / n / part.factor, sqrt(max(variance, 0.0)) / part.factor


def bin_counts(part: FeatureLayout, counts: Counts) -> list[int]:
    """Return the rows per displayed bin; `FeatureBaseline.bins` names them.

    A numeric feature has the bins of PSI; a categorical one its 20 most frequent levels, all
    other known levels, and what the baseline does not know.
    """
    cells = counts[part.cells]
    if isinstance(part, NumericLayout):
        total: list[int] = cells.cumsum()[part.bin_ends].tolist()
        return [total[0], *(above - below for below, above in pairwise(total))]
    novel = int(counts[part.other]) + int(counts[part.unseen])
    return [*cells[:N_SHOWN_LEVELS].tolist(), int(cells[N_SHOWN_LEVELS:].sum()), novel]


def in_words(part: FeatureLayout, counts: Counts) -> str:
    """Return a window's distribution of one feature in plain words."""
    cells = counts[part.cells]
    if isinstance(part, CategoricalLayout):
        left, largest = cells.copy(), []
        for _ in range(min(N_TOP, cells.size)):
            largest.append(int(left.argmax()))
            left[largest[-1]] = -1
        names = [part.feature.levels[i] for i in largest]
        return shares_in_words(names, cells[largest].tolist(), n_used(part, counts))
    if part.feature.sensitive:
        return NOT_SHOWN
    total = cells.cumsum()
    n = int(total[-1])
    if n == 0 or part.knots.size == 0:
        return "no rows"
    last = part.knots.size - 1
    low, high = (float(part.knots[min(int(total.searchsorted(share * n)) // 2, last)]) for share in (0.1, 0.9))
    return range_in_words(mean_sd(part, counts)[0], low, high)
