"""One event message: what producers may send, and from a record's bytes to one of its three forms.

The form is decided by the header ``content-type``, without it by the first byte. Rows that are
plain JSON take a path without a call of Python code per record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import pyarrow as pa
from msgspec import Meta

from schemas.arrays import BadTimesError, epoch_ms_of_arrow
from schemas.numbers import list_of
from schemas.records import Record, Rejected

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
MAX_ROWS = 20_000
MAX_NAME = 200
N_LOOKED_AT = 16

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Feature = Annotated[str, Meta(max_length=MAX_NAME)]
Features = Annotated[dict[str, Any], Meta(extra_json_schema={"propertyNames": {"maxLength": MAX_NAME}})]
Version = Annotated[str, Meta(max_length=MAX_NAME)] | int | None
Identity = Annotated[str, Meta(max_length=500)] | int | None
Time = int | Annotated[datetime, Meta(tz=True)]
Prediction = Annotated[
    Any,
    Meta(
        description="A number, a label, or an object of class probabilities.",
        extra_json_schema={"type": ["number", "string", "boolean", "object", "null"]},
    ),
]
Latency = Annotated[
    Any,
    Meta(description="Milliseconds; anything else is a type error.", extra_json_schema={"type": ["number", "null"]}),
]
Failure = Annotated[
    Any,
    Meta(
        description="The error's text, or whether there was one; anything else is a type error.",
        extra_json_schema={"type": ["string", "boolean", "null"]},
    ),
]


class EventRow(msgspec.Struct, frozen=True, gc=False):
    """One inference. `time` is RFC 3339 with an offset or integer epoch milliseconds."""

    model: Name
    time: Time
    features: Features
    version: Version = ""
    id: Identity = None
    prediction: Prediction = None
    latency_ms: Latency = None
    error: Failure = None
    slices: dict[str, Any] | None = None
    entity: str | int | None = None
    feature_version: str | int | None = None
    metadata: dict[str, Any] | None = None


class FlatRow(EventRow, frozen=True, gc=False):
    """The same, its features not read yet: together they are read faster."""

    features: msgspec.Raw  # type: ignore[assignment]  # see `schemas.flat`


class EventColumns(msgspec.Struct, frozen=True):
    """A micro-batch of inferences of one model and version: lists of equal length, at most 20,000 rows."""

    model: Name
    times: list[Time]
    columns: dict[Feature, list[Any]]
    version: Version = ""
    ids: list[Identity] | None = None
    predictions: list[Prediction] | None = None
    latencies_ms: list[Latency] | None = None
    errors: list[Failure] | None = None
    slices: dict[str, list[Any]] | None = None
    entities: list[Any] | None = None
    feature_versions: list[Any] | None = None
    metadata: list[Any] | None = None


class _RawColumns(EventColumns, frozen=True):
    """The same, its columns not read yet."""

    columns: dict[Feature, msgspec.Raw]  # type: ignore[assignment]  # until `_columns` has read them


class EventTable(msgspec.Struct, frozen=True):
    """A micro-batch as an Arrow table with the columns ``time``, ``id``, ``feature.*`` and derived ones."""

    model: str
    version: str
    table: Any


Event = EventRow | EventColumns | EventTable

_DAMAGED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_row = msgspec.json.Decoder(EventRow).decode
_decode_flat = msgspec.json.Decoder(FlatRow).decode
_decode_raw_columns = msgspec.json.Decoder(_RawColumns).decode


class BadMessageError(Exception):
    """One message cannot be used: (reason, detail)."""


def parse_flat(records: Sequence[Record], min_rows: int) -> list[tuple[Record, Event]] | None:
    """Return the messages of records that are all single rows, their features unread.

    None when they are not, or when a look at some shows fewer than `min_rows` to a model.
    """
    if len(records) < min_rows or any(map(attrgetter("headers"), records)):
        return None
    values = list(map(attrgetter("value"), records))
    try:
        some = map(_decode_flat, values[:: max(1, len(values) // N_LOOKED_AT)])
        if len(set(map(attrgetter("model"), some))) * min_rows > len(values):
            return None
        return list(zip(records, map(_decode_flat, values), strict=True))
    except _DAMAGED:
        return None


def parse(records: Sequence[Record], max_features: int, rejected: list[Rejected]) -> list[tuple[Record, Event]]:
    """Return the messages of records that have a value; what cannot be used goes to `rejected`."""
    messages: list[tuple[Record, Event]] = []
    media: dict[bytes, str] = {b"": ""}
    for record in records:
        value = record.value or b""
        content_type = b""
        for key, text in record.headers:
            if key.lower() == "content-type":
                content_type = text
        try:
            if content_type not in media:
                media[content_type] = _media(content_type)
            kind = media[content_type]
            if kind == ARROW or (not kind and value[:4] == b"\xff\xff\xff\xff"):
                messages.append((record, _table(value, max_features)))
                continue
            decode: Callable[[bytes], EventRow | EventColumns]
            decode = _columns if b'"columns"' in value else _decode_row
            try:
                message = decode(value)
            except _DAMAGED as error:
                message = _again(value, error)
            if isinstance(message, EventColumns):
                _check_columns(message, max_features)
            elif len(message.features) > max_features:
                raise _too_many_features(len(message.features), max_features)
            messages.append((record, message))
        except BadMessageError as bad:
            rejected.append(Rejected(record.offset, *bad.args))
    return messages


def _media(content_type: bytes) -> str:
    media = content_type.decode("utf-8", "replace").split(";")[0].strip().lower()
    if media not in ("", JSON, ARROW, "application/octet-stream"):
        raise BadMessageError("unknown_content_type", f"content-type {media[:80]!r}; send {JSON} or {ARROW}")
    return "" if media == "application/octet-stream" else media


def _columns(value: bytes) -> EventColumns:
    message = _decode_raw_columns(value)
    columns: dict[str, Any] = message.columns
    for name, raw in columns.items():
        columns[name] = list_of(bytes(raw))
    return message


def _again(value: bytes, error: Exception) -> EventRow | EventColumns:
    """Decode what the likelier form refused: the other form, or JSON as lenient writers make it.

    NaN, infinities, numbers beyond float64 and halves of surrogate pairs (they become ``?``) are read.
    """
    try:
        plain = _encodable(json.loads(value))
    except RecursionError:
        raise BadMessageError("not_json", "nested too deeply") from None
    except ValueError:
        raise BadMessageError("not_json", str(error)[:300]) from None
    kinds: tuple[Any, ...] = (EventColumns, EventRow) if b'"columns"' in value else (EventRow, EventColumns)
    failures: list[str] = []
    for kind in kinds:
        try:
            message: EventRow | EventColumns = msgspec.convert(plain, kind)
            return message
        except msgspec.ValidationError as why:
            failures.append(str(why))
    reason = "missing_field" if "missing required" in failures[0] else "wrong_type"
    raise BadMessageError(reason, failures[0])


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return list(map(_encodable, value))
    if isinstance(value, dict):
        return {_encodable(name): _encodable(one) for name, one in value.items()}
    return value


def _too_many_features(n_features: int, limit: int) -> BadMessageError:
    return BadMessageError("too_many_features", f"{n_features} features; the limit is {limit}")


def _check_columns(message: EventColumns, max_features: int) -> None:
    n_rows = len(message.times)
    if n_rows > MAX_ROWS:
        raise BadMessageError("too_many_rows", f"{n_rows} rows in one message; the limit is {MAX_ROWS}")
    if len(message.columns) > max_features:
        raise _too_many_features(len(message.columns), max_features)
    lengths = {name: len(values) for name, values in message.columns.items()}
    for field in ("predictions", "latencies_ms", "errors", "ids"):
        if (values := getattr(message, field)) is not None:
            lengths[field] = len(values)
    for name, length in lengths.items():
        if length != n_rows:
            raise BadMessageError("unequal_lengths", f"column {name[:80]!r} has {length} values, `times` has {n_rows}")


def _table(value: bytes, max_features: int) -> EventTable:
    try:
        table = _read(value)
        names = table.column_names
        metadata = table.schema.metadata or {}
    except BadMessageError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise BadMessageError("arrow_invalid", str(error)[:300]) from None
    model, version = (metadata.get(name, b"").decode("utf-8", "replace") for name in (b"model", b"version"))
    if not 0 < len(model) <= MAX_NAME or len(version) > MAX_NAME:
        raise BadMessageError(
            "missing_field", "the schema's metadata needs `model`; it and `version` have at most 200 characters"
        )
    if "time" not in names:
        raise BadMessageError("missing_field", "the Arrow stream needs a column `time`")
    if len(set(names)) != len(names):
        raise BadMessageError("wrong_type", "the Arrow stream names a column twice")
    if max(map(len, names)) > MAX_NAME + len("prediction."):
        raise BadMessageError("wrong_type", f"a column's name has more than {MAX_NAME} characters")
    n_features = sum(name.startswith("feature.") for name in names)
    if n_features > max_features:
        raise _too_many_features(n_features, max_features)
    try:
        epoch_ms_of_arrow(table.column("time"))
    except BadTimesError as bad:
        raise BadMessageError(*bad.args) from None
    return EventTable(model, version, table)


def _read(value: bytes) -> Any:
    """Return the table of a stream; one with too many rows is not read to its end."""
    batches = []
    n_rows = 0
    with pa.ipc.open_stream(pa.py_buffer(value)) as reader:
        for batch in reader:
            n_rows += batch.num_rows
            if n_rows > MAX_ROWS:
                raise BadMessageError("too_many_rows", f"more than {MAX_ROWS} rows in one message")
            batches.append(batch)
        table = pa.Table.from_batches(batches, reader.schema)
    table.validate(full=True)
    return table
