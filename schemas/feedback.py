"""What people and later events say of a prediction: labels, thumbs, ratings, edits, texts.

One message holds one row (a JSON object) or columns of rows (JSON lists or one Arrow IPC stream).
Every row is judged by itself: a bad one becomes a `Rejected` with its reason and takes no other
row with it. Reasons never quote values, which may be personal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from math import isfinite
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from schemas.parsing import BadMessageError, parse
from schemas.records import Record, Rejected, header

MAX_ROWS = 10_000
MAX_TEXT = 20_000
FIRST_TIME_MS = 10**11
LAST_TIME_MS = 10**13

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Word = Annotated[str, Meta(min_length=1, max_length=64)]
Short = Annotated[str, Meta(max_length=200)]
Identity = Annotated[str, Meta(min_length=1, max_length=500)] | int
TraceId = Annotated[str, Meta(pattern="^[0-9a-fA-F]{32}$")]
SpanId = Annotated[str, Meta(pattern="^[0-9a-fA-F]{16}$")]
Time = Annotated[datetime, Meta(tz=True)] | float
Value = Annotated[str, Meta(max_length=MAX_TEXT)] | float | bool


class Feedback(msgspec.Struct, frozen=True, omit_defaults=True):
    """One statement about one prediction (`id`) or one span (`trace_id` and `span_id`).

    `time` is RFC 3339 with an offset, or epoch milliseconds. `kind` is any word; ``label`` is the
    ground truth, ``verbatim`` a person's own words.
    """

    model: Name
    time: Time
    kind: Word
    value: Value
    id: Identity | None = None
    trace_id: TraceId | None = None
    span_id: SpanId | None = None
    source: Short | None = None
    user: Short | None = None


class FeedbackColumns(msgspec.Struct, frozen=True, omit_defaults=True):
    """Up to 10,000 statements about one model, as columns of equal length.

    `kind`, `source` and `user` may be given once for all rows instead of as a column.
    """

    model: Name
    times: Annotated[list[Time], Meta(max_length=MAX_ROWS)]
    values: Annotated[list[Value], Meta(max_length=MAX_ROWS)]
    ids: list[Identity | None] | None = None
    trace_ids: list[TraceId | None] | None = None
    span_ids: list[SpanId | None] | None = None
    kind: Word | None = None
    kinds: list[Word] | None = None
    source: Short | None = None
    sources: list[Short | None] | None = None
    user: Short | None = None
    users: list[Short | None] | None = None


class FeedbackBatch(NamedTuple):
    """Accepted rows as parallel lists, in the order they were read.

    Text that was not given is ``""``. Exactly one of `value_text` and `value_number` is not None;
    a bool is the number 0 or 1. `time` is in epoch milliseconds, ids of spans are lower-case hex,
    `offset` is the offset of the record a row came from.
    """

    model: list[str]
    id: list[str]
    trace_id: list[str]
    span_id: list[str]
    time: list[int]
    kind: list[str]
    value_text: list[str | None]
    value_number: list[float | None]
    source: list[str]
    user: list[str]
    offset: list[int]

    @property
    def n_rows(self) -> int:
        """Return the number of rows."""
        return len(self.time)


class Decoded(NamedTuple):
    """What some records came to; a `Rejected` names its row in `detail`."""

    batch: FeedbackBatch
    rejected: list[Rejected]
    n_tombstones: int


_PLURAL = {name: f"{name}s" for name in Feedback.__struct_fields__ if name != "model"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def empty() -> FeedbackBatch:
    """Return a batch without rows."""
    return FeedbackBatch([], [], [], [], [], [], [], [], [], [], [])


def merge(batches: Iterable[FeedbackBatch]) -> FeedbackBatch:
    """Return the rows of several batches in one, in the given order."""
    merged = empty()
    for batch in batches:
        for into, values in zip(_lists(merged), _lists(batch), strict=True):
            into.extend(values)
    return merged


def _lists(batch: FeedbackBatch) -> tuple[list[Any], ...]:
    return batch


def decode(records: Sequence[Record]) -> Decoded:
    """Decode the records of one partition; a record without a value is counted and skipped."""
    values = [record for record in records if record.value is not None]
    messages = [
        decode_message(record.value or b"", content_type=header(record, "content-type"), offset=record.offset)
        for record in values
    ]
    rejected = [one for _, many in messages for one in many]
    return Decoded(merge(batch for batch, _ in messages), rejected, len(records) - len(values))


def decode_message(
    value: bytes, *, content_type: str | None = None, offset: int = 0
) -> tuple[FeedbackBatch, list[Rejected]]:
    """Decode one message.

    Parameters
    ----------
    value
        A JSON object, JSON columns, or columns as an Arrow IPC stream.
    content_type
        The header of that name; without it the first byte decides.
    offset
        The record's offset, repeated on every row.

    Returns
    -------
    The rows that can be used, and a `Rejected` for each that cannot (or one for the whole
    message, with `n_rows` 0). Never raises for bad input.
    """
    batch = empty()
    rejected: list[Rejected] = []
    try:
        rows = _rows(parse(value, content_type, _PLURAL, max_rows=MAX_ROWS))
    except BadMessageError as bad:
        return batch, [Rejected(offset, *bad.args)]
    for index, row in enumerate(rows):
        try:
            _append(batch, msgspec.convert(row, Feedback), offset)
        except msgspec.ValidationError as error:
            reason = "missing_field" if "missing required" in str(error) else "wrong_type"
            rejected.append(Rejected(offset, reason, f"row {index}: {error}", 1))
        except BadMessageError as bad:
            rejected.append(Rejected(offset, bad.args[0], f"row {index}: {bad.args[1]}", 1))
    return batch, rejected


def encode(feedback: Feedback | FeedbackColumns) -> bytes:
    """Encode one statement, or columns of them, as a JSON message."""
    return _encode(feedback)


_encode = msgspec.json.Encoder().encode


def _rows(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the rows of a message, each as a dict of the fields it has."""
    whole = {name: fields[name] for name in Feedback.__struct_fields__ if _given(name, fields.get(name))}
    columns = {name: fields[plural] for name, plural in _PLURAL.items() if fields.get(plural) is not None}
    if not columns:
        return iter([whole])
    for name, column in columns.items():
        if not isinstance(column, list):
            raise BadMessageError("wrong_type", f"{_PLURAL[name]}: expected a list, got {type(column).__name__}")
    lengths = {_PLURAL[name]: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        details = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise BadMessageError("unequal_lengths", f"columns differ in length: {details}")
    n_rows = next(iter(lengths.values()))
    if n_rows > MAX_ROWS:
        raise BadMessageError("too_many_rows", f"{n_rows} rows; a message holds at most {MAX_ROWS}")
    if not isinstance(whole.get("model"), str):
        raise BadMessageError("missing_field", "columns need one `model` for the whole message")
    names = [*whole.keys() - columns.keys(), *columns]
    parts = [columns[name] if name in columns else repeat(whole[name], n_rows) for name in names]
    return ({n: v for n, v in zip(names, row, strict=True) if _given(n, v)} for row in zip(*parts, strict=True))


def _given(name: str, value: Any) -> bool:
    """Tell whether a field is there; an empty text is only a value where it is the value."""
    return value is not None and (value != "" or name == "value")


def _append(batch: FeedbackBatch, row: Feedback, offset: int) -> None:
    """Add a row to every list, or raise before touching any."""
    if row.id is None and (row.trace_id is None or row.span_id is None):
        raise BadMessageError("missing_field", "names no prediction: give id, or trace_id and span_id")
    time = _time_ms(row.time)
    text, number = (row.value, None) if isinstance(row.value, str) else (None, float(row.value))
    if number is not None and not isfinite(number):
        raise BadMessageError("wrong_type", "value is not a finite number")
    identity = "" if row.id is None else str(row.id)
    source, user = row.source or "", row.user or ""
    if not _encodable("".join((row.model, identity, row.kind, text or "", source, user))):
        raise BadMessageError("wrong_type", "text holds half of a surrogate pair")
    spans = ((row.trace_id or "").lower(), (row.span_id or "").lower())
    values = (row.model, identity, *spans, time, row.kind, text, number, source, user, offset)
    for into, value in zip(_lists(batch), values, strict=True):
        into.append(value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _time_ms(time: datetime | float) -> int:
    if isinstance(time, datetime):
        time_ms = (time - _EPOCH) // _MILLISECOND
    elif not isfinite(time) or time != int(time):
        raise BadMessageError("bad_time", "time is not a whole number of epoch milliseconds")
    else:
        time_ms = int(time)
    if not FIRST_TIME_MS <= time_ms < LAST_TIME_MS:
        raise BadMessageError("bad_time", "time is outside 1973-2286: give epoch milliseconds or RFC 3339")
    return time_ms
