"""Which format the messages of a topic have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.cloudevents import event, parsed
from schemas.inference import is_request
from schemas.messages import BadMessageError
from schemas.records import Record
from schemas.sources import Format

MOST = 0.9


def recognised(records: Sequence[Record]) -> tuple[Format, list[Any], str]:
    """Return the format most messages have, their documents, and why."""
    events = [one for record in records if (one := _event(record)) is not None]
    plain = [one for record in records if (one := _json(record)) is not None]
    enough = max(1, round(MOST * len(records)))
    served = [one for one in events if ".inference." in str(one["type"]) or is_request(one["data"]) is not None]
    if len(served) >= enough:
        return "open-inference", served, f"{len(served)} of {len(records)} are CloudEvents with inference payloads"
    if len(events) >= enough:
        return "cloudevents", events, f"{len(events)} of {len(records)} have CloudEvents attributes"
    bare = [one for one in plain if _is_payload(one)]
    if len(bare) >= enough:
        return "open-inference", bare, f"{len(bare)} of {len(records)} are inference requests or responses"
    objects = [one for one in plain if type(one) in (dict, list)]
    if len(objects) >= enough:
        return "json", objects, f"{len(objects)} of {len(records)} are JSON"
    registry = sum((record.value or b"")[:1] == b"\0" for record in records)
    hint = " (Avro or Protobuf from a schema registry? those are not read)" if registry >= enough else ""
    return "json", [], f"only {len(objects)} of {len(records)} messages are JSON objects{hint}"


def _event(record: Record) -> dict[str, Any] | None:
    try:
        found = event(record)
    except BadMessageError:
        return None
    return found if "type" in found else None


def _json(record: Record) -> Any:
    try:
        return parsed(record.value or b"")
    except BadMessageError:
        return None


def _is_payload(document: Any) -> bool:
    if type(document) is not dict:
        return False
    if type(document.get("request")) is dict and "response" in document:
        return is_request(document["request"]) is True
    tensors = document.get("inputs", document.get("outputs"))
    if type(tensors) is list:
        return all(type(one) is dict and {"name", "shape"} <= one.keys() for one in tensors)
    return type(document.get("instances")) is list or set(document) == {"predictions"}
