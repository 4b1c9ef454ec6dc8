"""Lists and Arrow arrays become columns; the only place that looks at a value's type."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from operator import itemgetter
from types import NoneType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.columns import Batch, Codes, Column, Times

MAX_CLASSES = 100
MAX_LABEL = 200
NUMBERS = frozenset({float, int, NoneType})
LABELS = frozenset({str, NoneType})
FLAGS = frozenset({bool, NoneType})
FAR_MS = 1 << 62


class BadTimesError(Exception):
    """Times that cannot be read at all: (reason, detail)."""


def column_of(values: Sequence[Any]) -> Column:
    """Return a column of Python values: numbers, strings, booleans, None; all else is invalid.

    >>> column_of([1, None, 2.5]).numbers
    array([1. , nan, 2.5])
    >>> column_of(["a", "b", "a"]).codes
    array([0, 1, 0], dtype=int32)
    """
    kinds = set(map(type, values))
    if kinds <= NUMBERS or kinds <= FLAGS or kinds <= LABELS:
        try:
            return column_of_arrow(pa.array(values, pa.string() if str in kinds else None))
        except (pa.ArrowException, OverflowError, ValueError):
            pass  # integers no 64 bits hold, or that float64 holds inexactly beside floats; halves of surrogate pairs
    return _mixed(values)


def column_of_arrow(array: Any) -> Column:
    """Return the column of an Arrow array; types that are no number or label count as invalid."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    if pa.types.is_float64(kind) or pa.types.is_float32(kind):
        return Column(array.to_numpy(zero_copy_only=False))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Column(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    if pa.types.is_boolean(kind):
        return _labelled(array.cast(pa.string()).dictionary_encode())
    if pa.types.is_run_end_encoded(kind):
        return column_of_arrow(pc.run_end_decode(array))
    if pa.types.is_dictionary(kind):
        if _is_text(kind.value_type):
            return _labelled(array)
        return column_of_arrow(array.dictionary.take(array.indices))
    if _is_text(kind):
        return _labelled(array.dictionary_encode())
    if pa.types.is_null(kind):
        return Column(np.full(len(array), np.nan))
    return Column.of_invalid(np.asarray(array.is_valid().to_numpy(zero_copy_only=False), bool))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _labelled(coded: Any) -> Column:
    """Return the column of a dictionary array of text, whose values are never written out row by row."""
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    given = coded.dictionary.to_pylist()
    levels = {level: place for place, level in enumerate(dict.fromkeys(given)) if level is not None}
    occurring = np.zeros(len(given) + 1, bool)
    occurring[codes] = True
    if len(levels) < len(given) or not occurring[:-1].all():
        kept = dict.fromkeys(level for level, occurs in zip(given, occurring, strict=False) if occurs)
        kept.pop(None, None)
        levels = {level: place for place, level in enumerate(kept)}
        codes = np.array([*map(levels.get, given, [-1] * len(given)), -1], np.int32)[codes]
    return _column(None, codes, levels)


def _column(numbers: Any, codes: Codes, levels: dict[str, int]) -> Column:
    """Return a column; a label longer than 200 characters is cut and told from others by a digest."""
    names = tuple(levels)
    if max(map(len, names), default=0) > MAX_LABEL:
        names = tuple(name if len(name) <= MAX_LABEL else _cut(name) for name in names)
    return Column(numbers, codes, names)


def _cut(label: str) -> str:
    digest = blake2b(label.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{label[: MAX_LABEL - 18]}… {digest}"


def _mixed(values: Sequence[Any]) -> Column:
    """Sort values of several types one by one: numbers, labels, and what is neither."""
    numbers = np.full(len(values), np.nan)
    codes = np.full(len(values), -1, np.int32)
    invalid = np.zeros(len(values), bool)
    levels: dict[str, int] = {}
    for row, value in enumerate(values):
        if isinstance(value, bool):
            value = "true" if value else "false"
        if isinstance(value, str):
            label = value if value.isascii() else value.encode("utf-8", "replace").decode()
            codes[row] = levels.setdefault(label, len(levels))
        elif isinstance(value, int | float):
            try:
                numbers[row] = value
            except OverflowError:
                numbers[row] = np.inf if value > 0 else -np.inf
        elif value is not None:
            invalid[row] = True
    column = _column(numbers, codes, levels) if levels else Column(numbers)
    return column.with_invalid(invalid)


def epoch_ms(values: Sequence[int | datetime]) -> Times:
    """Return event times in epoch milliseconds; what no 64-bit integer holds becomes absurdly far."""
    kinds = set(map(type, values))
    if kinds <= {int}:
        try:
            return np.array(values, dtype=np.int64)
        except OverflowError:
            return np.array([min(max(value, -FAR_MS), FAR_MS) for value in values], np.int64)
    if int not in kinds:
        return epoch_ms_of_arrow(pa.array(values, pa.timestamp("us", "UTC")))
    times = np.empty(len(values), np.int64)
    for wanted in (True, False):
        rows = [row for row, value in enumerate(values) if (type(value) is int) is wanted]
        times[rows] = epoch_ms([values[row] for row in rows])
    return times


def epoch_ms_of_arrow(array: Any) -> Times:
    """Return the times of an Arrow column: a timestamp of any unit (UTC when it has no zone), or integer milliseconds.

    Raises
    ------
    BadTimesError
        When a time is missing or the column is of another type.
    """
    if array.null_count:
        raise BadTimesError("time_invalid", f"{array.null_count} rows of column `time` are null")
    if pa.types.is_timestamp(array.type):
        ticks = np.asarray(array.cast(pa.int64()).to_numpy(), np.int64)
        if array.type.unit == "s":
            return np.clip(ticks, -FAR_MS // 1000, FAR_MS // 1000) * 1000
        return ticks // _TICKS_PER_MS[array.type.unit]
    if pa.types.is_uint64(array.type):
        return np.minimum(np.asarray(array.to_numpy(), np.uint64), FAR_MS).astype(np.int64)
    if pa.types.is_integer(array.type):
        return np.asarray(array.to_numpy(), np.int64)
    raise BadTimesError("time_invalid", f"column `time` is {array.type}; send a timestamp or integer milliseconds")


_TICKS_PER_MS = {"ms": 1, "us": 1_000, "ns": 1_000_000}


def prediction_columns(values: Sequence[Any]) -> dict[str, Column]:
    """Return the derived series of predictions: numbers, labels, or objects of class probabilities.

    Of probabilities follow one column per class, the likeliest label, its probability
    (``confidence``) and the entropy in nats. Objects of more than 100 classes together, or with a
    class of more than 200 characters, are invalid.
    """
    if dict not in set(map(type, values)):
        return {"prediction": column_of(values)}
    tables = [value if isinstance(value, dict) else {} for value in values]
    names = sorted(set().union(*tables))
    if len(names) > MAX_CLASSES or max(map(len, names), default=0) > MAX_LABEL:
        return {"prediction": column_of(values)}
    rest = column_of([None if isinstance(value, dict) else value for value in values])
    if not names:
        return {"prediction": rest}
    if set(map(len, tables)) == {len(names)}:
        lists = [list(map(itemgetter(name), tables)) for name in names]
    else:
        lists = [[table.get(name) for table in tables] for name in names]
    derived = classes_columns(dict(zip(names, map(column_of, lists), strict=True)), len(values))
    return {**derived, "prediction": _either(derived["prediction"], rest)}


def _either(likeliest: Column, rest: Column) -> Column:
    """Return one column of predictions of which some are objects and some are plain."""
    assert likeliest.codes is not None
    levels = {level: place for place, level in enumerate(likeliest.levels)}
    codes = likeliest.codes
    if rest.codes is not None:
        moved = np.array([*(levels.setdefault(level, len(levels)) for level in rest.levels), -1], np.int32)
        codes = np.where(codes >= 0, codes, moved[rest.codes])
    return rest._replace(codes=codes, levels=tuple(levels))


def classes_columns(classes: dict[str, Column], n_rows: int) -> dict[str, Column]:
    """Return the derived series of one column of probabilities per class."""
    names = list(classes)
    missing = np.full(n_rows, np.nan)
    table = np.stack([missing if c.numbers is None else c.numbers for c in classes.values()]).astype(np.float64)
    known = ~np.isnan(table).all(axis=0)
    best = np.where(np.isnan(table), -np.inf, table).argmax(axis=0)
    confidence = np.where(known, table[best, np.arange(n_rows)], np.nan)
    entropy = np.zeros(n_rows)
    for p in np.clip(np.nan_to_num(table, nan=1.0), 1e-300, 1.0):  # class by class: the same sum in any batch
        entropy -= p * np.log(p)
    return {
        **{f"prediction.{name}": column for name, column in classes.items()},
        "prediction": Column(codes=np.where(known, best, -1).astype(np.int32), levels=tuple(names)),
        "confidence": Column(confidence),
        "entropy": Column(np.where(known, entropy, np.nan)),
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
    no_numbers = all(column is None or column.numbers is None for column in columns)
    whole = Column(
        None if no_numbers else np.concatenate(numbers),
        np.concatenate(codes) if levels else None,
        tuple(levels),
        sum(column.n_invalid for column in columns if column is not None),
    )
    if not whole.n_invalid:
        return whole
    marks = [
        np.zeros(len(batch.times), bool) if column is None or column.invalid is None else column.invalid
        for column, batch in zip(columns, batches, strict=True)
    ]
    return whole.with_invalid(np.concatenate(marks))
