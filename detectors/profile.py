"""Rows become integer counts; merging two profiles is adding their vectors.

Everything here is a plain integer sum, so the result does not depend on order, batching or sharding.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from math import isfinite
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from detectors.grid import MIN_VALUES
from detectors.layout import (
    CategoricalLayout,
    Counts,
    FeatureLayout,
    Layout,
    NumericLayout,
    number_label,
    standardise,
)
from schemas.columns import Column

N_UNSEEN = 32
MAX_BLOCK = 1 << 18
"""Sums of squares of this many standardised values are exact in float64."""

Unseen = dict[str, dict[str, int]]
Finite = dict[int, list[tuple[NumericLayout, NDArray[Any]]]]

_ABSENT = Column()


def add(layout: Layout, counts: Counts, columns: Mapping[str, Column], n_rows: int) -> None:
    """Add `n_rows` rows to `counts` in place.

    Parameters
    ----------
    counts
        Shape ``(layout.size,)``; see `Layout.zeros`.
    columns
        Columns of `n_rows` values; a feature without one is missing in every row.
    """
    finite: Finite = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for name, part in layout.features.items():
            column = columns.get(name, _ABSENT)
            if isinstance(part, NumericLayout):
                _add_numbers(part, counts, column, n_rows, finite)
            else:
                _add_labels(part, counts, column, n_rows)
        for n, group in finite.items():
            _add_moments(n, group, counts)


def _add_rest(part: FeatureLayout, counts: Counts, n_rows: int, n_used: int, n_errors: int) -> None:
    n_errors = min(n_errors, n_rows - n_used)
    counts[part.missing] += n_rows - n_used - n_errors
    counts[part.type_errors] += n_errors


def _add_numbers(part: NumericLayout, counts: Counts, column: Column, n_rows: int, finite: Finite) -> None:
    n_used = 0
    if column.numbers is not None and column.numbers.size:
        numbers = column.numbers
        for begin in range(0, numbers.size, MAX_BLOCK):
            n_used += _add_block(part, counts, numbers[begin : begin + MAX_BLOCK], finite)
    n_labels = 0 if column.codes is None else int(np.count_nonzero(column.codes >= 0))
    _add_rest(part, counts, n_rows, n_used, column.n_invalid + n_labels)


def _add_block(part: NumericLayout, counts: Counts, numbers: NDArray[Any], finite: Finite) -> int:
    """Add the cells of one block; leave its finite values, in any order, in `finite` by their number."""
    narrow = numbers.dtype == np.float32
    if not narrow:
        numbers = numbers.astype(np.float64, copy=False)
    grid = part.grid(narrow) if numbers.size >= MIN_VALUES else None
    if grid is None:
        return _add_sorted(part, counts, numbers, finite)
    n_others = 0
    if not isfinite(numbers.sum()):
        usual = np.isfinite(numbers)
        n_others = _add_sorted(part, counts, numbers[~usual], finite)
        numbers = numbers[usual]
    if numbers.size:
        counts[part.cells] += grid.count(numbers)
        finite.setdefault(numbers.size, []).append((part, numbers))
    return n_others + numbers.size


def _add_sorted(part: NumericLayout, counts: Counts, numbers: NDArray[Any], finite: Finite) -> int:
    ordered: NDArray[Any] = np.sort(numbers)
    below = ordered.searchsorted(part.thresholds32 if ordered.dtype == np.float32 else part.thresholds64)
    n_used = int(below[-1])
    if not n_used:
        return 0
    cells = counts[part.cells]
    cells += below
    cells[1:] -= below[:-1]
    first, last = 0, n_used
    if ordered[0] == -np.inf:
        first = int(ordered.searchsorted(-np.inf, "right"))
        counts[part.neg_inf] += first
    if ordered[n_used - 1] == np.inf:
        last = int(ordered.searchsorted(np.inf, "left"))
        counts[part.pos_inf] += n_used - last
    if last > first:
        finite.setdefault(last - first, []).append((part, ordered[first:last]))
    return n_used


def _add_moments(n: int, group: list[tuple[NumericLayout, NDArray[Any]]], counts: Counts) -> None:
    """Add count, sum and sum of squares of `n` standardised values of each feature: whole numbers, so exact."""
    for begin in range(0, len(group), max(MAX_BLOCK // n, 1)):
        some = group[begin : begin + max(MAX_BLOCK // n, 1)]
        steps = standardise(
            np.array([values for _, values in some], np.float64),
            np.array([[part.mean] for part, _ in some]),
            np.array([[part.factor] for part, _ in some]),
        )
        sums = steps.sum(1).tolist()
        squares = np.einsum("ij,ij->i", steps, steps).tolist()
        for (part, _), first, second in zip(some, sums, squares, strict=True):
            counts[part.n_finite] += n
            counts[part.sum1] += int(first)
            counts[part.sum2] += int(second)


def labels_of(column: Column, from_numbers: bool) -> tuple[list[str], NDArray[np.int64], int]:
    """Return the labels of a categorical column, how often each occurs, and the numbers that are none.

    With `from_numbers` (a monitor's ``type: categorical``) numbers become labels.
    """
    names: list[str] = []
    sizes: list[NDArray[np.int64]] = []
    n_errors = 0
    if column.codes is not None:
        names.extend(column.levels)
        sizes.append(np.bincount(column.codes + 1, minlength=len(column.levels) + 1)[1:])
    if column.numbers is not None:
        present = column.numbers[~np.isnan(column.numbers)]
        if from_numbers:
            values, n_each = np.unique(present, return_counts=True)
            names.extend(map(number_label, values.tolist()))
            sizes.append(n_each)
        else:
            n_errors = int(present.size)
    return names, np.concatenate(sizes) if sizes else np.zeros(0, np.int64), n_errors


def _add_labels(part: CategoricalLayout, counts: Counts, column: Column, n_rows: int) -> None:
    names, n_each, n_errors = labels_of(column, part.feature.from_numbers)
    if names:
        slots = np.fromiter(map(part.lookup.get, part.names(names), repeat(part.novel)), np.int64, len(names))
        np.add.at(counts, slots, n_each)
    _add_rest(part, counts, n_rows, int(n_each.sum()), column.n_invalid + n_errors)


def merge(left: Counts, right: Counts) -> Counts:
    """Return the profile of the rows of both."""
    return left + right


def unseen_levels(layout: Layout, columns: Mapping[str, Column]) -> Unseen:
    """Return, per feature, unseen levels and how many rows have them: the 32 with the smallest CRC-32.

    Keeping the smallest hashes makes the list bounded, its counts exact and its merge free of order.
    """
    found: Unseen = {}
    for name, part in layout.features.items():
        column = columns.get(name)
        if column is None or not isinstance(part, CategoricalLayout) or part.feature.n_other:
            continue
        names, n_each, _ = labels_of(column, part.feature.from_numbers)
        names = part.names(names)
        if all(map(part.lookup.__contains__, names)):
            continue
        new: dict[str, int] = {}
        for level, n in zip(names, n_each.tolist(), strict=True):
            if n and level not in part.lookup:
                new[level] = new.get(level, 0) + n
        if new:
            found[name] = _smallest(new)
    return found


def _smallest(levels: dict[str, int]) -> dict[str, int]:
    if len(levels) > N_UNSEEN:
        kept = sorted(levels, key=lambda level: (crc32(level.encode("utf-8", "surrogatepass")), level))[:N_UNSEEN]
        levels = {level: levels[level] for level in kept}
    return dict(sorted(levels.items()))


def merge_unseen(left: Unseen, right: Unseen) -> Unseen:
    """Return the unseen levels of the rows of both.

    >>> merge_unseen({"city": {"Rome": 1}}, {"city": {"Oslo": 2, "Rome": 3}})
    {'city': {'Oslo': 2, 'Rome': 4}}
    """
    merged: Unseen = {}
    for name in sorted(left.keys() | right.keys()):
        mine, theirs = left.get(name, {}), right.get(name, {})
        both = {level: mine.get(level, 0) + theirs.get(level, 0) for level in mine.keys() | theirs.keys()}
        merged[name] = _smallest(both)
    return merged


def unknown_features(layout: Layout, columns: Mapping[str, Column]) -> int:
    """Return the most values a single row has in columns the baseline neither judges nor leaves out on purpose.

    A missing value is none, so the maximum over the rows of a window does not depend on batching.
    """
    unknown = [column for name, column in columns.items() if name not in layout.features and name not in layout.skipped]
    return int(np.max(sum(map(_present, unknown)), initial=0)) if unknown else 0


def _present(column: Column) -> NDArray[np.int64]:
    """Return 1 for every row with a value, usable or not."""
    present: Any = False if column.invalid is None else column.invalid
    if column.numbers is not None:
        present = present | ~np.isnan(column.numbers)
    if column.codes is not None:
        present = present | (column.codes >= 0)
    return np.asarray(present, np.int64)
