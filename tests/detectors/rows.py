"""Rows for tests: columns, references and profiles of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import profile
from detectors.layout import Counts, Layout
from detectors.reference import build_baseline
from detectors.windows import HOUR_MS
from schemas.baselines import Baseline
from schemas.columns import Column
from schemas.monitors import Monitor

HOURLY = Monitor("m", window="1h")


def numbers(values: Any, dtype: Any = np.float64) -> Column:
    """A numeric column."""
    return Column(np.asarray(values, dtype))


def labels(values: Iterable[str | None]) -> Column:
    """A column of labels; None is missing."""
    names: dict[str, int] = {}
    codes = [-1 if value is None else names.setdefault(value, len(names)) for value in values]
    return Column(None, np.array(codes, np.int32), tuple(names))


def hourly_times(n: int, rows_per_hour: int) -> NDArray[np.int64]:
    """Event times of `n` evenly spaced rows."""
    return np.arange(n, dtype=np.int64) * (HOUR_MS // rows_per_hour)


def baseline(
    columns: Mapping[str, Column], *, rows_per_hour: int = 500, monitor: Monitor = HOURLY, **more: Any
) -> Baseline:
    """The baseline of evenly spaced rows."""
    first = next(iter(columns.values()))
    data = first.numbers if first.numbers is not None else first.codes
    assert data is not None
    times = hourly_times(data.size, rows_per_hour)
    return build_baseline(
        columns, times, baseline_id="m@1", model="m", monitor=monitor, source="test", created_ms=0, **more
    )


def count(layout: Layout, columns: Mapping[str, Column], n_rows: int, cuts: Sequence[int] = ()) -> Counts:
    """The profile of the rows, added in the batches that `cuts` make."""
    counts = layout.zeros()
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < n_rows), n_rows]
    for begin, end in pairwise(edges):
        part = {name: column.take(slice(begin, end)) for name, column in columns.items()}
        profile.add(layout, counts, part, end - begin)
    return counts
