"""Numbers and distributions in words a person reads at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite

N_SHOWN_LEVELS = 20
NOT_SHOWN = "not shown: sensitive"


def plain(value: float) -> str:
    """Return a number with three significant digits, or whole with separators from 1,000 on.

    >>> plain(32000.4), plain(0.12345), plain(12.0), plain(2.5e9)
    ('32,000', '0.123', '12', '2.5e+09')
    """
    if not isfinite(value):
        return str(value)
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value + 0.0:.3g}"


def short(value: float) -> str:
    """Return a number for the label of a bin.

    >>> short(48210.0), short(0.25), short(1_250_000.0)
    ('48.2k', '0.25', '1.25M')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if size <= abs(value) < size * 1e3:
            return f"{value / size:.3g}{unit}"
    return f"{value + 0.0:.4g}"


def percent(share: float) -> str:
    """Return a share in percent, with a decimal below ten.

    >>> percent(0.314), percent(0.0123), percent(0.0)
    ('31 %', '1.2 %', '0 %')
    """
    points = 100 * share
    return f"{points:.0f} %" if points >= 9.95 or points == 0 else f"{points:.1f} %"


def bin_labels(edges: Sequence[float]) -> list[str]:
    """Return one label for each bin that ends at an edge, and one for the bin above the last.

    >>> bin_labels([10, 20])
    ['<= 10', '10-20', '> 20']
    """
    if not edges:
        return ["all"]
    names = [short(edge) for edge in edges]
    if len(set(names)) < len(names):
        names = [f"{edge:.8g}" for edge in edges]
    inner = [f"{low}-{high}" for low, high in pairwise(names)]
    return [f"<= {names[0]}", *inner, f"> {names[-1]}"]


def rank_labels(counts: Sequence[int]) -> list[str]:
    """Return labels that tell a bin's place in the reference instead of its values.

    >>> rank_labels([1, 9, 90])
    ['lowest 1 %', '1-10 %', 'highest 90 %']
    """
    total, below, labels = sum(counts), 0, []
    for i, count in enumerate(counts):
        low, high = (f"{100 * n / total:.3g}" for n in (below, below + count))
        last = i == len(counts) - 1
        labels.append(f"highest {100 * count / total:.3g} %" if last and i else f"{low}-{high} %")
        below += count
    return [f"lowest {labels[0][2:]}", *labels[1:]] if len(labels) > 1 else ["all"]


def range_in_words(mean: float, low: float, high: float) -> str:
    """Return the mean and the middle 80 % of a numeric feature.

    >>> range_in_words(32000, 14000, 61000)
    'mean 32,000, 10-90 % 14,000-61,000'
    """
    return f"mean {plain(mean)}, 10-90 % {plain(low)}-{plain(high)}"


def shares_in_words(levels: Sequence[str], counts: Sequence[int], total: int) -> str:
    """Return the largest three levels with their shares.

    >>> shares_in_words(["FR", "DE"], [31, 20], 100)
    'FR 31 %, DE 20 %'
    """
    if total <= 0:
        return "no rows"
    largest = sorted(zip(levels, counts, strict=True), key=lambda item: (-item[1], item[0]))[:3]
    return ", ".join(f"{level[:40]} {percent(count / total)}" for level, count in largest if count) or "no known level"
