"""The bytes of a message to its fields, from JSON or Arrow, told apart as the contract says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pyarrow as pa

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"


class BadMessageError(Exception):
    """Why a row or a message cannot be used: (reason, detail)."""


def parse(value: bytes, content_type: str | None, columns: Mapping[str, str], *, max_rows: int) -> dict[str, Any]:
    """Return the fields of a message.

    Parameters
    ----------
    value
        A JSON object or an Arrow IPC stream.
    content_type
        The header of that name; without it the first byte decides.
    columns
        The columns to read from Arrow and the field each becomes. The rest of an Arrow message's
        fields are its schema's metadata.
    max_rows
        The most rows an Arrow message may hold.

    Raises
    ------
    BadMessageError
        The message cannot be parsed. The detail quotes nothing of it but the content type.
    """
    media = (content_type or "").split(";", 1)[0].strip().lower()
    if media == ARROW or (not media and value[:4] == b"\xff\xff\xff\xff"):
        return _arrow(value, columns, max_rows)
    if media not in ("", JSON, "application/octet-stream"):
        raise BadMessageError("unknown_content_type", f"content-type {media[:80]!r}; send {JSON} or {ARROW}")
    try:
        fields = _json(value)
    except (ValueError, RecursionError) as error:  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        why = str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
        raise BadMessageError("not_json", why) from None
    if not isinstance(fields, dict):
        raise BadMessageError("wrong_type", f"expected a JSON object, got {type(fields).__name__}")
    return fields


def _json(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError as strict:
        try:
            return json.loads(value)  # reads NaN and broken surrogates, so that they cost a row and not the message
        except (ValueError, RecursionError):
            raise strict from None


def _arrow(value: bytes, columns: Mapping[str, str], max_rows: int) -> dict[str, Any]:
    try:
        with pa.ipc.open_stream(pa.py_buffer(value)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadMessageError("arrow_invalid", type(error).__name__) from None
    if table.num_rows > max_rows:
        raise BadMessageError("too_many_rows", f"{table.num_rows} rows; a message holds at most {max_rows}")
    if len(set(table.column_names)) != table.num_columns:
        raise BadMessageError("wrong_type", "the Arrow stream names a column twice")
    metadata = table.schema.metadata or {}
    fields: dict[str, Any] = {
        key.decode(errors="replace"): text.decode(errors="replace") for key, text in metadata.items()
    }
    for name in columns.keys() & set(table.column_names):
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
        fields[columns[name]] = column.to_pylist()
    return fields
