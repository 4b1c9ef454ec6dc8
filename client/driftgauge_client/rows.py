"""One row at a time in, micro-batches of JSON columns out.

A row is encoded when it is logged: it no longer depends on objects the service goes on changing,
and its size is known. The background thread turns rows of one model into columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from math import isfinite
from typing import Any, Literal

import orjson

from driftgauge_client import values
from driftgauge_client.values import SIMPLE, dumps, plain

Kind = Literal["event", "feedback"]
JSON = "application/json"
PIECE_ROWS = 64
PIECE_CELLS = 4_096

_EVENT = ("ids", "times", "predictions", "latencies_ms", "errors", "slices", "entities", "feature_versions", "metadata")
_FEEDBACK = ("ids", "trace_ids", "span_ids", "times", "kinds", "values", "sources", "users")


class RowError(ValueError):
    """A row that cannot be sent; the text names the argument and the fix."""


class Unusable:
    """Counts values that JSON cannot carry; they are sent as null."""

    def __init__(self) -> None:
        self.n_values = 0

    def usable(self, value: object) -> Any:
        """Return the plain value, or None when there is none."""
        try:
            result = plain(value)
            dumps(result)
        except (TypeError, ValueError, OverflowError, RecursionError):
            self.n_values += 1
            return None
        return result


def encode_event(
    features: Mapping[str, object],
    prediction: object,
    id: object,
    time_ms: int,
    latency_ms: object,
    error: object,
    slices: Mapping[str, object] | None,
    entity: object,
    feature_version: object,
    metadata: Mapping[str, object] | None,
    unusable: Unusable,
) -> bytes:
    """Return the row as a JSON list."""
    if type(features) is not dict:
        if not hasattr(features, "items"):
            raise RowError(f"features: expected a mapping of names to values, got {type(features).__name__}")
        features = dict(features.items())
    head = (
        values.identity(id),
        time_ms,
        values.prediction(prediction),
        None if latency_ms is None else _number("latency_ms", latency_ms),
        values.error_text(error),
        None if slices is None else {str(name): values.identity(value) for name, value in slices.items()},
        values.identity(entity),
        values.identity(feature_version),
        None if metadata is None else unusable.usable(metadata),
    )
    if SIMPLE.issuperset(map(type, features.values())):
        try:
            return _tight(dumps((*head, features)))
        except TypeError:
            pass
    safe = {plain(str(name)): unusable.usable(value) for name, value in features.items()}
    return _tight(dumps((*map(unusable.usable, head), safe)))


def encode_feedback(
    id: object,
    trace_id: object,
    span_id: object,
    time_ms: int,
    kind: object,
    value: object,
    source: object,
    user: object,
) -> bytes:
    """Return the row as a JSON list."""
    row = (values.identity(id), trace_id, span_id, time_ms, kind, feedback_value(value), source, user)
    check_feedback(row[0], trace_id, span_id, kind)
    return _tight(dumps(tuple(map(plain, row))))


def _tight(row: bytes) -> bytes:
    """Return a copy: orjson shrinks a large block to the row, and the rest of each block would stay unused."""
    return memoryview(row).tobytes()


def feedback_value(value: object) -> object:
    """Return a number, a text or a bool."""
    given = plain(value)
    if given is None or type(given) not in SIMPLE or (type(given) is float and not isfinite(given)):
        raise RowError(f"value: expected a number, text or bool, got {type(value).__name__}")
    return given


def check_feedback(id: object, trace_id: object, span_id: object, kind: object) -> None:
    """Raise unless the row names a prediction or a span, and a kind."""
    if not id and not (trace_id and span_id):
        raise RowError("id: give the prediction's id, or trace_id and span_id")
    if not isinstance(kind, str) or not 0 < len(kind) <= 64:
        raise RowError("kind: expected a word of 1 to 64 characters, such as label or thumbs")


def _number(name: str, value: object) -> float | None:
    number = values.prediction(value)
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise RowError(f"{name}: expected a number, got {type(value).__name__}")
    return number


def encode_rows(
    kind: Kind, model: str, version: str, rows: Sequence[bytes], limit_bytes: int, breathe: Callable[[], None]
) -> Iterator[tuple[bytes, int]]:
    """Turn rows into messages below the limit, in order.

    Yields
    ------
    The message and its number of rows. `breathe` is called often, so that the interpreter's lock
    is never held for long while a service waits for it.
    """
    decoded: list[list[Any]] = []
    for start in range(0, len(rows), PIECE_ROWS):
        decoded += orjson.loads(b"[" + b",".join(rows[start : start + PIECE_ROWS]) + b"]")
        breathe()
    columns = _event_columns(decoded, breathe) if kind == "event" else _plural(_FEEDBACK, decoded)
    head = {"model": model, "version": version} if kind == "event" else {"model": model}
    message = _object({**head, **columns}, breathe)
    if len(message) <= limit_bytes or len(rows) == 1:
        yield message, len(rows)
        return
    half = len(rows) // 2
    yield from encode_rows(kind, model, version, rows[:half], limit_bytes, breathe)
    yield from encode_rows(kind, model, version, rows[half:], limit_bytes, breathe)


def _event_columns(rows: list[list[Any]], breathe: Callable[[], None]) -> dict[str, Any]:
    columns = _plural(_EVENT, rows)
    if slices := columns.get("slices"):
        columns["slices"] = _transposed([one or {} for one in slices], breathe)
    return {**columns, "columns": _transposed([row[-1] for row in rows], breathe)}


def _plural(names: tuple[str, ...], rows: list[list[Any]]) -> dict[str, Any]:
    """Return the columns that have any value."""
    columns = zip(*rows, strict=True)
    return {name: column for name, column in zip(names, columns, strict=False) if column.count(None) < len(column)}


def _transposed(rows: list[dict[str, Any]], breathe: Callable[[], None]) -> dict[str, Sequence[Any]]:
    """Return a column per name; a row without the name has null there."""
    if len(set(map(tuple, rows))) == 1:
        return dict(zip(rows[0], zip(*map(dict.values, rows), strict=True), strict=True))
    columns: dict[str, Sequence[Any]] = {}
    n_cells = 0
    for name in dict.fromkeys(chain.from_iterable(rows)):
        columns[name] = [row.get(name) for row in rows]
        n_cells += len(rows)
        if n_cells > PIECE_CELLS:
            n_cells = 0
            breathe()
    return columns


def _object(fields: dict[str, Any], breathe: Callable[[], None]) -> bytes:
    """Encode an object of columns in pieces."""
    parts = []
    n_cells = 0
    for name, value in fields.items():
        parts.append(dumps(name) + b":" + (_object(value, breathe) if isinstance(value, dict) else dumps(value)))
        n_cells += len(value)
        if n_cells > PIECE_CELLS:
            n_cells = 0
            breathe()
    return b"{" + b",".join(parts) + b"}"
