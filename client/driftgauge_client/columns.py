"""Many rows at once, given as columns, to messages of JSON columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import isfinite
from typing import Any

from driftgauge_client import values
from driftgauge_client.rows import RowError, Unusable
from driftgauge_client.values import MAX_TIME_MS, MIN_TIME_MS, SIMPLE, dumps

PROBE_ROWS = 16


@dataclass(frozen=True)
class Given:
    """What `log_many` was given beside the features; text names a column of the features' table."""

    predictions: Any = None
    ids: Any = None
    times: Any = None
    latencies_ms: Any = None
    errors: Any = None
    entities: Any = None
    slices: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JSONColumns:
    """Columns of equal length, ready to be cut into messages."""

    head: dict[str, str]
    lists: dict[str, Any]
    objects: dict[str, dict[str, Any]]
    n_rows: int
    n_refused: int
    unusable: Unusable

    def messages(self, batch_rows: int, limit_bytes: int) -> Iterator[tuple[bytes, int]]:
        """Yield messages and their numbers of rows, in order; only a single row may exceed the limit."""
        if not self.n_rows:
            return
        probe = min(PROBE_ROWS, self.n_rows)
        per_row = len(self._encode(0, probe)) / probe
        yield from split(self.n_rows, max(1, min(batch_rows, int(limit_bytes / per_row))), limit_bytes, self._encode)

    def _encode(self, start: int, stop: int) -> bytes:
        message: dict[str, Any] = {**self.head}
        message.update({name: column[start:stop] for name, column in self.lists.items()})
        for name, columns in self.objects.items():
            message[name] = {key: column[start:stop] for key, column in columns.items()}
        try:
            return dumps(message)
        except TypeError:  # an integer beyond 64 bits, half of a surrogate pair: value by value
            return dumps(_careful(message, self.unusable))


def _careful(value: Any, unusable: Unusable) -> Any:
    if isinstance(value, dict):
        return {values.plain(name): _careful(one, unusable) for name, one in value.items()}
    if isinstance(value, list):
        return [unusable.usable(one) for one in value]
    return unusable.usable(value)


def split(n_rows: int, step: int, limit_bytes: int, encode: Callable[[int, int], bytes]) -> Iterator[tuple[bytes, int]]:
    """Cut rows into messages below the limit, taking fewer rows when one comes out too large."""
    start = 0
    while start < n_rows:
        stop = min(start + step, n_rows)
        message = encode(start, stop)
        if len(message) > limit_bytes and stop - start > 1:
            step = max(1, int((stop - start) * 0.9 * limit_bytes / len(message)))
            continue
        yield message, stop - start
        start = stop


def event_columns(
    model: str, version: str, columns: Mapping[Any, Any], given: Given, unusable: Unusable
) -> JSONColumns:
    """Check and convert columns of inferences.

    Raises
    ------
    RowError
        When the columns cannot belong together.
    """
    features = {str(name): values for name, values in columns.items()}
    take = _Taker(features, unusable)
    lists = {
        name: column
        for name, column in (
            ("ids", take(given.ids, "ids", values.identity)),
            ("predictions", _predictions(take, given.predictions)),
            ("latencies_ms", take(given.latencies_ms, "latencies_ms")),
            ("errors", take(given.errors, "errors", values.error_text)),
            ("entities", take(given.entities, "entities", values.identity)),
        )
        if column is not None
    }
    slices = {str(name): take(one, f"slices[{name!r}]", values.identity) for name, one in given.slices.items()}
    given_times = take.raw(given.times, "times")
    objects = {"columns": {name: column_of(name, one, unusable) for name, one in features.items()}}
    if slices:
        objects["slices"] = slices
    return _assembled({"model": model, "version": version}, lists, objects, given_times, unusable)


def feedback_columns(model: str, lists: Mapping[str, Any], times: Any, unusable: Unusable) -> JSONColumns:
    """Check and convert columns of feedback; `lists` has the contract's names, None and text stay what they are."""
    texts = {name: value for name, value in lists.items() if isinstance(value, str)}
    columns = {
        name: column_of(name, value, unusable, values.identity if name == "ids" else None)
        for name, value in lists.items()
        if value is not None and name not in texts
    }
    given = columns["values"] if isinstance(columns["values"], list) else columns["values"].tolist()
    columns["values"] = [None if type(one) is float and not isfinite(one) else one for one in given]
    return _assembled({"model": model, **texts}, columns, {}, times, unusable, required="values")


def _assembled(
    head: dict[str, str],
    lists: dict[str, Any],
    objects: dict[str, dict[str, Any]],
    times: Any,
    unusable: Unusable,
    required: str | None = None,
) -> JSONColumns:
    every = {**{key: one for columns in objects.values() for key, one in columns.items()}, **lists}
    lengths = {name: len(column) for name, column in every.items()}
    if times is not None and not _is_moment(times):
        times = column_of("times", times, unusable, lambda one: one)
        lengths["times"] = len(times)
    if len(set(lengths.values())) != 1:
        shown = ", ".join(f"{name} {length}" for name, length in list(lengths.items())[:8])
        raise RowError(f"columns: expected equal lengths of at least one column, got {shown or 'none'}")
    n_given = next(iter(lengths.values()))
    kept, good = times_ms(times, n_given)
    if required is not None and lists[required].count(None):
        places = enumerate(range(n_given) if good is None else good)
        full = [(place, row) for place, row in places if lists[required][row] is not None]
        kept, good = [kept[place] for place, _ in full], [row for _, row in full]
    if good is not None:
        lists = {name: taken(column, good) for name, column in lists.items()}
        objects = {name: {key: taken(one, good) for key, one in columns.items()} for name, columns in objects.items()}
    return JSONColumns(head, {"times": kept, **lists}, objects, len(kept), n_given - len(kept), unusable)


class _Taker:
    """Takes what stands beside the features: given itself, or by the name of one of their columns."""

    def __init__(self, features: dict[str, Any], unusable: Unusable) -> None:
        self._features = features
        self._unusable = unusable

    def raw(self, given: Any, argument: str) -> Any:
        if not isinstance(given, str):
            return given
        if given not in self._features:
            raise RowError(f"{argument}: there is no column {given!r}")
        return self._features.pop(given)

    def __call__(self, given: Any, argument: str, convert: Callable[[Any], Any] | None = None) -> Any:
        given = self.raw(given, argument)
        return None if given is None else column_of(argument, given, self._unusable, convert)


def _predictions(take: _Taker, given: Any) -> Any:
    if isinstance(given, Mapping):
        classes = {str(name): list(take(one, f"predictions[{name!r}]")) for name, one in given.items()}
        return [dict(zip(classes, row, strict=True)) for row in zip(*map(values.plain, classes.values()), strict=True)]
    given = take.raw(given, "predictions")
    if getattr(given, "ndim", 1) == 2:
        return [dict(zip(map(str, range(len(row))), row, strict=True)) for row in given.tolist()]
    return take(given, "predictions", values.prediction)


def column_of(name: str, given: Any, unusable: Unusable, convert: Callable[[Any], Any] | None = None) -> Any:
    """Return a list of plain values, or a numeric array as it is."""
    if hasattr(given, "to_pylist"):
        given = given.to_pylist()
    elif hasattr(given, "to_numpy"):
        given = given.to_numpy()
    if isinstance(given, (str, bytes, Mapping)) or not hasattr(given, "__iter__"):
        raise RowError(f"{name}: expected a column (list, array, Series), got {type(given).__name__}")
    if hasattr(given, "dtype"):
        if given.ndim < 1:
            raise RowError(f"{name}: expected a column, got an array without dimensions")
        numeric = given.dtype.kind in "fiub" and given.dtype.itemsize <= 8 and given.dtype.isnative
        if numeric and (convert is None or convert is values.prediction):
            return given if given.flags.c_contiguous else given.copy()
        given = values.plain(given) if given.dtype.kind in "Mm" else given.tolist()
    items = list(given)
    if convert is not None and not (convert is values.identity and set(map(type, items)) <= {str, type(None)}):
        return [_converted(one, convert, unusable) for one in items]
    if SIMPLE.issuperset(map(type, items)):
        return items
    return [one if type(one) in SIMPLE else unusable.usable(one) for one in items]


def _converted(value: Any, convert: Callable[[Any], Any], unusable: Unusable) -> Any:
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError):
        unusable.n_values += 1
        return None


def _is_moment(times: Any) -> bool:
    return isinstance(times, (int, float, date))


def times_ms(times: Any, n_rows: int) -> tuple[Any, list[int] | None]:
    """Return the epoch milliseconds that can be used, and the rows they belong to when not all can."""
    if times is None:
        return [time.time_ns() // 1_000_000] * n_rows, None
    if _is_moment(times):
        return [values.time_ms(times)] * n_rows, None
    if set(map(type, times)) <= {int} and times and min(times) >= MIN_TIME_MS and max(times) < MAX_TIME_MS:
        return times, None
    moments = [_moment(one) for one in times]
    good = [row for row, moment in enumerate(moments) if moment is not None]
    return [moments[row] for row in good], None if len(good) == n_rows else good


def _moment(value: Any) -> int | None:
    try:
        return values.time_ms(value)
    except (TypeError, ValueError, OverflowError):
        return None


def taken(column: Any, rows: Sequence[int]) -> Any:
    """Return the given rows of a list or array."""
    return column[list(rows)] if hasattr(column, "dtype") else [column[row] for row in rows]
