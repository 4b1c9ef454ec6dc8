"""Spans made harmless: what a trace store accepts with 200 and then loses, alone or with its neighbours.

Phoenix drops a span with a bytes value, and all later spans of the same request after a very deep
key; it stores a list as span kind and then fails to list the project. PostgreSQL takes no NUL in
text. Meaning stays: bytes become text, deep keys lose their dots, long text loses its end.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.spans import SPAN_ID_BYTES, TRACE_ID_BYTES

MAX_DEPTH = 32
MAX_TEXT = 200_000
KIND = "openinference.span.kind"
TOO_DEEP = "(nested too deep)"


class DroppedSpan(NamedTuple):
    """A span that cannot be sent; ids are hex, as far as there are any."""

    trace_id: str
    span_id: str
    reason: str


def sanitise(request: ExportTraceServiceRequest, *, max_text: int = MAX_TEXT) -> list[DroppedSpan]:
    """Change a request in place so that no span of it is lost or harms another.

    Parameters
    ----------
    request
        Changed in place.
    max_text
        Longer texts are cut, in characters.

    Returns
    -------
    list of DroppedSpan
        The spans taken out: those without usable ids.
    """
    dropped = []
    for resource_spans in request.resource_spans:
        _attributes(resource_spans.resource.attributes, max_text)
        for scope_spans in resource_spans.scope_spans:
            _attributes(scope_spans.scope.attributes, max_text)
            kept = []
            for span in scope_spans.spans:
                if reason := _bad_ids(span):
                    dropped.append(DroppedSpan(span.trace_id.hex(), span.span_id.hex(), reason))
                else:
                    _span(span, max_text)
                    kept.append(span)
            if len(kept) < len(scope_spans.spans):
                copies = [Span.FromString(span.SerializeToString()) for span in kept]
                del scope_spans.spans[:]
                scope_spans.spans.extend(copies)
    return dropped


def _usable(identity: bytes, n_bytes: int) -> bool:
    return len(identity) == n_bytes and any(identity)


def _bad_ids(span: Span) -> str:
    if not _usable(span.trace_id, TRACE_ID_BYTES):
        return f"trace id is not {TRACE_ID_BYTES} bytes other than zero"
    if not _usable(span.span_id, SPAN_ID_BYTES):
        return f"span id is not {SPAN_ID_BYTES} bytes other than zero"
    return ""


def _span(span: Span, max_text: int) -> None:
    if span.parent_span_id and not _usable(span.parent_span_id, SPAN_ID_BYTES):
        span.parent_span_id = b""
    if span.end_time_unix_nano < span.start_time_unix_nano:
        span.end_time_unix_nano = span.start_time_unix_nano
    for owner, name in ((span, "name"), (span, "trace_state"), (span.status, "message")):
        _text(owner, name, max_text)
    _attributes(span.attributes, max_text)
    for index in reversed(range(len(span.attributes))):
        if span.attributes[index].key == KIND:
            _kind(span.attributes[index].value)
    for event in span.events:
        _text(event, "name", max_text)
        _attributes(event.attributes, max_text)
    for index in reversed(range(len(span.links))):
        link = span.links[index]
        if _usable(link.trace_id, TRACE_ID_BYTES) and _usable(link.span_id, SPAN_ID_BYTES):
            _attributes(link.attributes, max_text)
        else:
            del span.links[index]


def _kind(value: AnyValue) -> None:
    """Make a span kind a text: the first of a list, else what it says of itself."""
    while value.WhichOneof("value") == "array_value" and value.array_value.values:
        value.CopyFrom(AnyValue.FromString(value.array_value.values[0].SerializeToString()))
    if value.WhichOneof("value") != "string_value":
        value.string_value = "UNKNOWN"


def _attributes(attributes: Iterable[KeyValue], max_text: int, depth: int = 0) -> None:
    for attribute in attributes:
        _text(attribute, "key", max_text)
        below = depth + attribute.key.count(".") + 1
        if below > MAX_DEPTH:
            parts = attribute.key.split(".")
            n_levels = max(MAX_DEPTH - depth - 1, 0)
            attribute.key = ".".join([*parts[:n_levels], "_".join(parts[n_levels:])])
            below = depth + n_levels + 1
        _value(attribute.value, max_text, below)


def _value(value: AnyValue, max_text: int, depth: int) -> None:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        _text(value, "string_value", max_text)
    elif kind == "bytes_value":
        value.string_value = _as_text(value.bytes_value)
        _text(value, "string_value", max_text)
    elif kind in ("array_value", "kvlist_value") and depth >= MAX_DEPTH:
        value.string_value = TOO_DEEP
    elif kind == "array_value":
        for item in value.array_value.values:
            _value(item, max_text, depth + 1)
    elif kind == "kvlist_value":
        _attributes(value.kvlist_value.values, max_text, depth)


def _as_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode()


def _text(owner: Any, name: str, max_text: int) -> None:
    text = getattr(owner, name)
    if len(text) > max_text or "\0" in text:
        setattr(owner, name, text[:max_text].replace("\0", "\ufffd"))
