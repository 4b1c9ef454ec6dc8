"""Inference events: one JSON row, JSON columns or one Arrow IPC stream, all to column batches.

A consumer hands over the records of one partition in offset order; what comes back is one
`Batch` per model and version (and encoding), and a `Rejected` for everything that could not be
used. One bad record never takes a good one with it. From here on no code is per row.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Meta

from schemas.arrays import (
    BadTimesError,
    classes_columns,
    column_of,
    column_of_arrow,
    epoch_ms,
    epoch_ms_of_arrow,
    prediction_columns,
)
from schemas.columns import Batch, Column
from schemas.records import Record, Rejected, header

ARROW = "application/vnd.apache.arrow.stream"
MAX_ROWS = 20_000
MIN_TIME_MS = 100_000_000_000
MAX_TIME_MS = 7_258_118_400_000
DERIVED = frozenset({"prediction", "confidence", "entropy", "latency_ms", "error"})

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Time = int | Annotated[datetime, Meta(tz=True)]


class EventRow(msgspec.Struct, frozen=True):
    """One inference. `time` is RFC 3339 with an offset or integer epoch milliseconds."""

    model: Name
    time: Time
    features: dict[str, Any]
    version: str = ""
    id: str | int | None = None
    prediction: Any = None
    latency_ms: float | None = None
    error: str | bool | None = None
    slices: dict[str, Any] = {}
    entity: str | int | None = None
    feature_version: str | None = None
    metadata: dict[str, Any] = {}


class EventColumns(msgspec.Struct, frozen=True):
    """A micro-batch of inferences of one model and version: lists of equal length."""

    model: Name
    times: list[Time]
    columns: dict[str, list[Any]]
    version: str = ""
    ids: list[str | int | None] | None = None
    predictions: list[Any] | None = None
    latencies_ms: list[float | None] | None = None
    errors: list[str | bool | None] | None = None
    slices: dict[str, list[Any]] = {}
    entities: list[Any] | None = None
    feature_versions: list[str | None] | None = None
    metadata: list[Any] | None = None


_row = msgspec.json.Decoder(EventRow)
_columns = msgspec.json.Decoder(EventColumns)


class Decoded(NamedTuple):
    """What the records of one poll came to."""

    batches: list[Batch]
    rejected: list[Rejected]
    n_tombstones: int


class _Bad(Exception):
    """One record cannot be used: (reason, detail)."""


def decode(records: Sequence[Record], *, max_features: int = 2_000) -> Decoded:
    """Decode the records of one partition.

    Parameters
    ----------
    records
        In offset order. A record without a value is a tombstone: counted and skipped.
    max_features
        A message with more columns than this is rejected.

    Returns
    -------
    Decoded
        Within one model and version, rows stand in offset order.
    """
    rejected: list[Rejected] = []
    values = [record for record in records if record.value is not None]
    messages = _messages(values, rejected)
    batches = []
    for group, run in _runs(messages).items():
        batches += _batches(group, run, rejected, max_features)
    return Decoded(batches, rejected, len(records) - len(values))


def _runs(messages: list[tuple[Record, Any]]) -> dict[tuple[Any, ...], list[Any]]:
    """Group messages that make one batch; within a model and version their order stays."""
    kinds = list(map(type, map(itemgetter(1), messages)))
    names = [message.features if kind is EventRow else message.columns for kind, (_, message) in zip(kinds, messages, strict=True)]
    models = map(attrgetter("model", "version"), map(itemgetter(1), messages))
    keys = list(zip(models, kinds, map(tuple, names), strict=True))
    if len(set(keys)) == 1:
        return {keys[0]: messages}
    runs: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    last: dict[tuple[str, str], tuple[Any, ...]] = {}
    for n, (key, pair) in enumerate(zip(keys, messages, strict=True)):
        if last.get(key[0], ())[:3] != key:
            last[key[0]] = (*key, n)
        runs[last[key[0]]].append(pair)
    return runs


def _messages(records: list[Record], rejected: list[Rejected]) -> list[tuple[Record, Any]]:
    """Parse every record; rows that are plain JSON take a path without Python code per record."""
    if not any(map(attrgetter("headers"), records)):
        try:
            return list(zip(records, map(_row.decode, map(attrgetter("value"), records)), strict=True))
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    messages = []
    for record in records:
        try:
            messages.append((record, _parse(record)))
        except _Bad as bad:
            rejected.append(Rejected(record.offset, *bad.args))
    return messages


def _parse(record: Record) -> Any:
    value = record.value or b""
    content_type = (header(record, "content-type") or "").split(";")[0].strip().lower()
    if content_type == ARROW or (not content_type and value[:4] == b"\xff\xff\xff\xff"):
        return _arrow(value)
    if content_type not in ("", "application/json", "application/octet-stream"):
        raise _Bad("unknown_content_type", f"content-type {content_type[:80]!r}; send application/json or {ARROW}")
    decoders = (_columns, _row) if b'"columns"' in value else (_row, _columns)
    try:
        return decoders[0].decode(value)
    except msgspec.ValidationError as error:
        try:
            return decoders[1].decode(value)
        except msgspec.DecodeError:
            reason = "missing_field" if "missing required" in str(error) else "wrong_type"
            raise _Bad(reason, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _lenient(value, error, decoders[0])


def _lenient(value: bytes, error: Exception, decoder: Any) -> Any:
    """Accept the NaN and Infinity that many JSON writers emit; everything else stays an error."""
    try:
        return msgspec.convert(json.loads(value), decoder.type, strict=True)
    except (ValueError, RecursionError):
        raise _Bad("not_json", str(error)) from None


class _Table(msgspec.Struct, frozen=True):
    """An Arrow message, shaped like the JSON ones for grouping."""

    model: str
    version: str
    table: Any
    columns: dict[str, Any]


def _arrow(value: bytes) -> _Table:
    try:
        with pa.ipc.open_stream(pa.py_buffer(value)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _Bad("arrow_invalid", str(error)[:300]) from None
    metadata = {k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in (table.schema.metadata or {}).items()}
    model = metadata.get("model", "")
    if not 0 < len(model) <= 200:
        raise _Bad("missing_field", "the Arrow schema's metadata needs `model` (1 to 200 characters)")
    if "time" not in table.column_names:
        raise _Bad("missing_field", "the Arrow stream needs a column `time`")
    if len(set(table.column_names)) != table.num_columns:
        raise _Bad("wrong_type", "the Arrow stream names a column twice")
    return _Table(model, metadata.get("version", ""), table, dict.fromkeys(map(str, table.schema)))


def _batches(
    group: tuple[Any, ...], run: list[tuple[Record, Any]], rejected: list[Rejected], max_features: int
) -> list[Batch]:
    """Turn a run of alike messages into one batch; when that fails, one by one to isolate the bad."""
    (model, version), kind, names = group[:3]
    records, messages = zip(*run, strict=True)
    try:
        if len(names) > max_features:
            raise _Bad("too_many_features", f"{len(names)} features; the limit is {max_features}")
        times, columns, ids, lengths = _BUILD[kind](messages, names)
    except (_Bad, BadTimesError) as bad:
        if len(run) > 1:
            return [batch for pair in run for batch in _batches(group, [pair], rejected, max_features)]
        rejected.append(Rejected(records[0].offset, *bad.args))
        return []
    offsets = np.fromiter(map(attrgetter("offset"), records), np.int64, len(run))
    record_times = np.fromiter(map(attrgetter("timestamp"), records), np.int64, len(run))
    if lengths is not None:
        offsets, record_times = np.repeat(offsets, lengths), np.repeat(record_times, lengths)
    batch = Batch(model, version, times, columns, ids, offsets, record_times)
    absurd = (times < MIN_TIME_MS) | (times > MAX_TIME_MS)
    if absurd.any():
        reject_rows(batch, absurd, "time_invalid", "time {time} is no epoch milliseconds of 1973 to 2200", rejected)
        batch = batch.take(~absurd)
    return [batch] if len(batch.times) else []


def reject_rows(batch: Batch, rows: Any, reason: str, detail: str, rejected: list[Rejected]) -> None:
    """Add one rejection per record for the marked rows; `{time}` in `detail` is their first time."""
    offsets, first, counts = np.unique(batch.offsets[rows], return_index=True, return_counts=True)
    for offset, time, n_rows in zip(offsets, batch.times[rows][first], counts, strict=True):
        rejected.append(Rejected(int(offset), reason, detail.format(time=time), int(n_rows)))


Built = tuple[Any, dict[str, Column], list[str | None] | None, Any]


def _from_rows(messages: Sequence[EventRow], names: tuple[str, ...]) -> Built:
    values = map(dict.values, map(attrgetter("features"), messages))
    columns = {_feature(name): column_of(column) for name, column in zip(names, zip(*values, strict=True), strict=False)}
    predictions, latencies, errors, ids = zip(
        *map(attrgetter("prediction", "latency_ms", "error", "id"), messages), strict=True
    )
    _derive(columns, predictions, latencies, errors)
    return epoch_ms(tuple(map(attrgetter("time"), messages))), columns, _ids(ids), None


def _from_columns(messages: Sequence[EventColumns], names: tuple[str, ...]) -> Built:
    lengths = [len(message.times) for message in messages]
    for message, n_rows in zip(messages, lengths, strict=True):
        _check_lengths(message, n_rows)
    columns = {_feature(name): column_of(_joined(messages, attrgetter("columns"), name)) for name in names}
    fields = {}
    for field in ("predictions", "latencies_ms", "errors", "ids"):
        lists = map(attrgetter(field), messages)
        fields[field] = list(
            chain.from_iterable(repeat(None, n) if v is None else v for v, n in zip(lists, lengths, strict=True))
        )
    _derive(columns, fields["predictions"], fields["latencies_ms"], fields["errors"])
    times = epoch_ms(list(chain.from_iterable(map(attrgetter("times"), messages))))
    return times, columns, _ids(fields["ids"]), lengths


def _joined(messages: Sequence[EventColumns], columns: Any, name: str) -> list[Any]:
    if len(messages) == 1:
        return messages[0].columns[name]
    return list(chain.from_iterable(map(dict.__getitem__, map(columns, messages), repeat(name))))


def _check_lengths(message: EventColumns, n_rows: int) -> None:
    if n_rows > MAX_ROWS:
        raise _Bad("too_many_rows", f"{n_rows} rows in one message; the limit is {MAX_ROWS}")
    lists = dict(message.columns)
    for field in ("predictions", "latencies_ms", "errors", "ids"):
        if (values := getattr(message, field)) is not None:
            lists[field] = values
    for name, values in lists.items():
        if len(values) != n_rows:
            raise _Bad("unequal_lengths", f"column {name[:80]!r} has {len(values)} values, `times` has {n_rows}")


def _from_tables(messages: Sequence[_Table], _: tuple[str, ...]) -> Built:
    lengths = [message.table.num_rows for message in messages]
    if max(lengths) > MAX_ROWS:
        raise _Bad("too_many_rows", f"{max(lengths)} rows in one message; the limit is {MAX_ROWS}")
    table = pa.concat_tables([message.table for message in messages]).combine_chunks()
    columns: dict[str, Column] = {}
    classes: dict[str, Column] = {}
    ids = None
    times = None
    for name in table.column_names:
        array = table.column(name)
        if name == "time":
            times = epoch_ms_of_arrow(array)
        elif name.startswith("feature."):
            columns[_feature(name.removeprefix("feature."))] = column_of_arrow(array)
        elif name == "id":
            ids = _ids(array.to_pylist())
        elif name.startswith("prediction."):
            classes[name.removeprefix("prediction.")] = column_of_arrow(array)
        elif name in ("prediction", "latency_ms", "error"):
            columns[name] = column_of_arrow(array)
    if classes:
        columns = {**classes_columns(classes, table.num_rows), **columns}
    return times, columns, ids, lengths


_BUILD: dict[Any, Any] = {EventRow: _from_rows, EventColumns: _from_columns, _Table: _from_tables}


def _feature(name: str) -> str:
    """Keep a user's feature apart from a derived series of the same name."""
    return f"features.{name}" if name in DERIVED or name.startswith("prediction.") else name


def _derive(columns: dict[str, Column], predictions: Sequence[Any], latencies: Sequence[Any], errors: Sequence[Any]) -> None:
    """Add the derived series of a batch; one that no row has stays out."""
    if _any(predictions):
        columns.update(prediction_columns(predictions))
    if _any(latencies):
        columns["latency_ms"] = column_of(latencies)
    if _any(errors):
        columns["error"] = column_of(errors)


def _any(values: Sequence[Any]) -> bool:
    return values.count(None) < len(values)


def _ids(values: Sequence[Any]) -> list[str | None] | None:
    if not _any(values):
        return None
    return [value if value is None else str(value) for value in values]
