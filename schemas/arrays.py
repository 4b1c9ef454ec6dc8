"""Lists and Arrow arrays become columns; the only place that looks at a value's type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.columns import Batch, Column, Times

MAX_CLASSES = 100


class BadTimesError(Exception):
    """Times that cannot be read at all: (reason, detail)."""


def column_of(values: Sequence[Any]) -> Column:
    """Return a column of Python values: numbers, strings, booleans, None.

    >>> column_of([1, None, 2.5]).numbers
    array([1. , nan, 2.5])
    >>> column_of(["a", "b", "a"]).codes
    array([0, 1, 0], dtype=int32)
    """
    try:
        return column_of_arrow(pa.array(values))
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return _mixed(values)


def column_of_arrow(array: Any) -> Column:
    """Return the column of an Arrow array; types that are no number or label count as invalid."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    kind = array.type
    if pa.types.is_float64(kind) or pa.types.is_float32(kind):
        return Column(array.to_numpy(zero_copy_only=False))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Column(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    if pa.types.is_boolean(kind):
        array, kind = array.cast(pa.string()), pa.string()
    if pa.types.is_dictionary(kind):
        array, kind = array.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        coded = array.dictionary_encode()
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        return Column(codes=codes, levels=tuple(coded.dictionary.to_pylist()))
    if pa.types.is_null(kind):
        return Column(np.full(len(array), np.nan))
    return Column(np.full(len(array), np.nan), n_invalid=len(array) - array.null_count)


def _mixed(values: Iterable[Any]) -> Column:
    """Sort values of several types one by one: numbers, labels, and what is neither."""
    values = list(values)
    numbers = np.full(len(values), np.nan)
    codes = np.full(len(values), -1, np.int32)
    levels: dict[str, int] = {}
    n_invalid = 0
    for row, value in enumerate(values):
        if isinstance(value, bool):
            value = "true" if value else "false"
        if isinstance(value, str):
            codes[row] = levels.setdefault(value, len(levels))
        elif isinstance(value, int | float):
            try:
                numbers[row] = value
            except OverflowError:
                numbers[row] = np.inf if value > 0 else -np.inf
        elif value is not None:
            n_invalid += 1
    return Column(numbers, codes if levels else None, tuple(levels), n_invalid)


def epoch_ms(values: Sequence[int | datetime]) -> Times:
    """Return event times in epoch milliseconds.

    Raises
    ------
    BadTimesError
        When a value fits no 64-bit integer.
    """
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        raise BadTimesError("time_invalid", "a time is too large for integer epoch milliseconds") from None
    except TypeError:
        pass
    try:
        return _arrow_ms(pa.array(values, pa.timestamp("us", "UTC")))
    except (pa.ArrowException, TypeError):
        return np.concatenate([epoch_ms([value]) for value in values])


def epoch_ms_of_arrow(array: Any) -> Times:
    """Return the times of an Arrow column: a timestamp of any unit, or integer milliseconds."""
    if array.null_count:
        raise BadTimesError("time_invalid", f"{array.null_count} rows of column `time` are null")
    if pa.types.is_timestamp(array.type):
        return _arrow_ms(array)
    if pa.types.is_integer(array.type):
        return np.asarray(array.cast(pa.int64()).to_numpy(), np.int64)
    raise BadTimesError("time_invalid", f"column `time` is {array.type}; send a timestamp or integer milliseconds")


def _arrow_ms(array: Any) -> Times:
    milliseconds = array.cast(pa.timestamp("ms", array.type.tz), safe=False).cast(pa.int64())
    return np.asarray(milliseconds.to_numpy(), np.int64)


def prediction_columns(values: Sequence[Any]) -> dict[str, Column]:
    """Return the derived series of predictions: numbers, labels, or objects of class probabilities.

    Of probabilities follow one column per class, the likeliest label, its probability
    (``confidence``) and the entropy in nats.
    """
    if dict not in set(map(type, values)):
        return {"prediction": column_of(values)}
    rows = [value if isinstance(value, dict) else {} for value in values]
    names = sorted({str(name) for row in rows for name in row})
    if not names:
        return {"prediction": Column(np.full(len(rows), np.nan))}
    if len(names) > MAX_CLASSES:
        return {"prediction": Column(np.full(len(rows), np.nan), n_invalid=len(rows))}
    classes = {name: column_of([row.get(name) for row in rows]) for name in names}
    return classes_columns(classes, len(rows))


def classes_columns(classes: dict[str, Column], n_rows: int) -> dict[str, Column]:
    """Return the derived series of one column of probabilities per class."""
    names = list(classes)
    missing = np.full(n_rows, np.nan)
    table = np.stack([missing if c.numbers is None else c.numbers for c in classes.values()]).astype(np.float64)
    known = ~np.isnan(table).all(axis=0)
    best = np.where(np.isnan(table), -np.inf, table).argmax(axis=0)
    confidence = np.where(known, table[best, np.arange(n_rows)], np.nan)
    p = np.clip(table, 1e-300, 1.0)
    entropy = np.where(known, -np.nansum(p * np.log(p), axis=0), np.nan)
    return {
        **{f"prediction.{name}": column for name, column in classes.items()},
        "prediction": Column(codes=np.where(known, best, -1).astype(np.int32), levels=tuple(names)),
        "confidence": Column(confidence),
        "entropy": Column(entropy),
    }


def concatenated(batches: Sequence[Batch]) -> tuple[dict[str, Column], Times]:
    """Put batches one after another; a column that a batch lacks is missing in its rows."""
    times = np.concatenate([batch.times for batch in batches])
    names = dict.fromkeys(name for batch in batches for name in batch.columns)
    return {name: _concatenated([batch.columns.get(name) for batch in batches], batches) for name in names}, times


def _concatenated(columns: Sequence[Column | None], batches: Sequence[Batch]) -> Column:
    levels: dict[str, int] = {}
    numbers: list[Any] = []
    codes: list[Any] = []
    for column, batch in zip(columns, batches, strict=True):
        n_rows = len(batch.times)
        has_numbers = column is not None and column.numbers is not None
        numbers.append(column.numbers if column is not None and has_numbers else np.full(n_rows, np.nan))
        if column is None or column.codes is None:
            codes.append(np.full(n_rows, -1, np.int32))
        else:
            moved = np.array([levels.setdefault(level, len(levels)) for level in column.levels] + [-1], np.int32)
            codes.append(moved[column.codes])
    n_invalid = sum(column.n_invalid for column in columns if column is not None)
    no_numbers = all(column is None or column.numbers is None for column in columns)
    return Column(
        None if no_numbers else np.concatenate(numbers),
        np.concatenate(codes) if levels else None,
        tuple(levels),
        n_invalid,
    )
