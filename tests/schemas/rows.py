"""Event messages for tests, and batches taken apart to rows so that they can be compared."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from math import isnan
from operator import itemgetter
from typing import Any

import pyarrow as pa

from schemas import events
from schemas.columns import Batch, Column
from schemas.messages import ARROW
from schemas.records import PlainRecord

T0 = 1_772_366_400_000
"""2026-03-01T12:00:00Z."""
ROW: dict[str, Any] = {"model": "m", "time": T0, "features": {"x": 1.5, "city": "Lyon"}}
COLUMNS: dict[str, Any] = {"model": "m", "times": [T0, T0 + 1], "columns": {"x": [1.5, 2], "city": ["Lyon", None]}}
INVALID = "an invalid value"


def encoded(message: Any) -> bytes:
    """The JSON of a message, as lenient writers make it."""
    return json.dumps(message).encode()


def row(**changes: Any) -> bytes:
    """One inference; a change to None is sent as null."""
    return encoded({**ROW, **changes})


def columns(**changes: Any) -> bytes:
    """Two inferences as columns."""
    return encoded({**COLUMNS, **changes})


def stream(table: pa.Table, metadata: Mapping[str, str] | None) -> bytes:
    """An Arrow IPC stream."""
    table = table.replace_schema_metadata(dict(metadata) if metadata is not None else None)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def arrow(given: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """Inferences of model m as an Arrow IPC stream."""
    return stream(pa.table(dict(given)), {"model": "m"} if metadata is None else metadata)


def record(value: bytes | None, offset: int = 0, content_type: str | None = None, timestamp: int = T0) -> PlainRecord:
    """A record of the events topic."""
    headers = [] if content_type is None else [("content-type", content_type.encode())]
    return PlainRecord("drift.events.v1", 0, offset, timestamp, value, None, headers)


def arrow_record(value: bytes, offset: int = 0) -> PlainRecord:
    """A record with an Arrow stream."""
    return record(value, offset, ARROW)


def one(value: bytes, content_type: str | None = None) -> Batch:
    """The one batch of a good message."""
    decoded = events.decode([record(value, 7, content_type)])
    assert not decoded.rejected
    assert len(decoded.batches) == 1
    return decoded.batches[0]


def why(value: bytes, content_type: str | None = None) -> tuple[str, str]:
    """Reason and detail of a bad message, which leaves no rows."""
    decoded = events.decode([record(value, 41, content_type)])
    assert not decoded.batches
    assert [rejected.offset for rejected in decoded.rejected] == [41]
    return decoded.rejected[0].reason, decoded.rejected[0].detail


def value_of(column: Column, at: int) -> Any:
    """A row's value of a column; None when it is missing."""
    if column.invalid is not None and column.invalid[at]:
        return INVALID
    if column.codes is not None and column.codes[at] >= 0:
        return column.levels[column.codes[at]]
    if column.numbers is not None and not isnan(column.numbers[at]):
        return float(column.numbers[at])
    return None


def values_of(batch: Batch, name: str) -> list[Any]:
    """A column as a list."""
    return [value_of(batch.columns[name], at) for at in range(len(batch.times))]


def seen(batches: Sequence[Batch]) -> dict[str, list[tuple[int, str, int, str | None, dict[str, Any]]]]:
    """Rows per model by offset: offset, version, time, id, and what is not missing."""
    rows: dict[str, list[Any]] = {}
    for batch in batches:
        for at in range(len(batch.times)):
            values = {name: value_of(column, at) for name, column in batch.columns.items()}
            present = {name: value for name, value in sorted(values.items()) if value is not None}
            row_id = None if batch.ids is None else batch.ids[at]
            place = int(batch.offsets[at]), batch.version, int(batch.times[at]), row_id
            rows.setdefault(batch.model, []).append((*place, present))
    return {model: sorted(found, key=itemgetter(0)) for model, found in rows.items()}
