"""A Kafka record as a document: plain JSON, or a CloudEvent with its attributes beside its data.

Source: CloudEvents 1.0.2, Kafka protocol binding (binary mode: headers ``ce_…`` and the data as value; structured
mode: ``application/cloudevents+json``) and JSON event format. Seldon Core's logger writes the attributes as headers
without the prefix; they are read as well.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import msgspec

from schemas.messages import BadMessageError
from schemas.records import Record

STRUCTURED = "application/cloudevents+json"
_decode = msgspec.json.Decoder().decode


def parsed(value: bytes | str) -> Any:
    """Return JSON, also as lenient writers make it (NaN, infinities).

    Raises
    ------
    BadMessageError
        When it is none; quotes nothing of it.
    """
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as strict:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            why = str(strict) if isinstance(strict, msgspec.DecodeError) else type(strict).__name__
            raise BadMessageError("not_json", why[:300]) from None


def plain(records: Sequence[Record]) -> list[Any]:
    """Return the JSON of every record; what is none is its `BadMessageError`."""
    try:
        return [_decode(record.value or b"") for record in records]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [_one(record) for record in records]


def _one(record: Record) -> Any:
    try:
        return parsed(record.value or b"")
    except BadMessageError as bad:
        return bad


def event(record: Record) -> dict[str, Any]:
    """Return a CloudEvent's attributes and extensions by name, and what it carries as `data`.

    Raises
    ------
    BadMessageError
        When the record is no CloudEvent or its data no JSON.
    """
    headers = {name.lower(): (text or b"").decode("utf-8", "replace") for name, text in record.headers}
    media = headers.get("content-type", "").split(";")[0].strip().lower()
    attributes = {name[3:]: text for name, text in headers.items() if name.startswith(("ce_", "ce-"))}
    if media == STRUCTURED or (not attributes and "type" not in headers):
        return _structured(parsed(record.value or b""))
    if not attributes:
        attributes = {name: text for name, text in headers.items() if name.isalnum()}
    return {**attributes, "data": parsed(record.value) if record.value else None}


def _structured(whole: Any) -> dict[str, Any]:
    if type(whole) is not dict or "specversion" not in whole or "type" not in whole:
        raise BadMessageError(
            "no_cloudevent", "neither headers ce_… nor a JSON object with `specversion` and `type`; is format right?"
        )
    if "data_base64" in whole:
        try:
            data = parsed(b64decode(whole["data_base64"], validate=True))
        except (TypeError, ValueError):
            raise BadMessageError("not_json", "`data_base64` is no base64") from None
        return {**whole, "data": data}
    return {"data": None, **whole}
