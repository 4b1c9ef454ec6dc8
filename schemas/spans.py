"""OpenTelemetry spans as they travel: one ExportTraceServiceRequest a message, protobuf or JSON.

JSON here means OTLP/JSON, in which ids are hex; protobuf's own JSON mapping would read them as
base64 and yield wrong ids without a word.

Source: the OpenTelemetry protocol specification, section "JSON Protobuf Encoding".
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.parsing import JSON, BadMessageError

PROTOBUF = "application/x-protobuf"
TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
_ID_BYTES = {
    "traceId": TRACE_ID_BYTES,
    "trace_id": TRACE_ID_BYTES,
    "spanId": SPAN_ID_BYTES,
    "span_id": SPAN_ID_BYTES,
    "parentSpanId": SPAN_ID_BYTES,
    "parent_span_id": SPAN_ID_BYTES,
}


class Located(NamedTuple):
    """A span with what it stands under."""

    resource: Resource
    scope: InstrumentationScope
    span: Span


def decode(value: bytes, *, content_type: str | None = None) -> ExportTraceServiceRequest:
    """Decode one message.

    Parameters
    ----------
    value
        An ExportTraceServiceRequest, as protobuf or as OTLP/JSON.
    content_type
        The header of that name; without it the first byte decides (``{`` is JSON).

    Raises
    ------
    BadMessageError
        It is neither. The detail quotes nothing of it.
    """
    media = (content_type or "").split(";", 1)[0].strip().lower()
    if media == JSON:
        return _from_json(value)
    if media in (PROTOBUF, "application/protobuf"):
        return _from_protobuf(value)
    if media not in ("", "application/octet-stream"):
        raise BadMessageError("unknown_content_type", f"content-type {media[:80]!r}; send {PROTOBUF} or {JSON}")
    try:
        if value[:1] != b"{":
            return _from_protobuf(value)
    except BadMessageError:
        if value.lstrip()[:1] != b"{":  # a line feed is also the first byte of protobuf
            raise
    return _from_json(value)


def encode(request: ExportTraceServiceRequest) -> bytes:
    """Encode a request as protobuf."""
    return request.SerializeToString()


def located(request: ExportTraceServiceRequest) -> Iterator[Located]:
    """Yield every span of a request, in its order."""
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield Located(resource_spans.resource, scope_spans.scope, span)


def halves(request: ExportTraceServiceRequest) -> tuple[ExportTraceServiceRequest, ExportTraceServiceRequest]:
    """Split a request into its first and second half of spans, each under its own resource and scope."""
    spans = list(located(request))
    middle = len(spans) // 2
    return _gathered(spans[:middle]), _gathered(spans[middle:])


def _gathered(spans: list[Located]) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    for before, one in pairwise([None, *spans]):
        assert one is not None
        if before is None or before.resource is not one.resource:
            request.resource_spans.add().resource.CopyFrom(one.resource)
        resource_spans = request.resource_spans[-1]
        if not resource_spans.scope_spans or before is None or before.scope is not one.scope:
            resource_spans.scope_spans.add().scope.CopyFrom(one.scope)
        resource_spans.scope_spans[-1].spans.add().CopyFrom(one.span)
    return request


def _from_protobuf(value: bytes) -> ExportTraceServiceRequest:
    try:
        return ExportTraceServiceRequest.FromString(value)
    except DecodeError:
        raise BadMessageError("not_otlp", "not an ExportTraceServiceRequest in protobuf") from None


def _from_json(value: bytes) -> ExportTraceServiceRequest:
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        raise BadMessageError("not_json", "not JSON") from None
    if not isinstance(fields, dict) or not {"resourceSpans", "resource_spans"} & fields.keys():
        raise BadMessageError("not_otlp", "an OTLP/JSON request is an object with resourceSpans")
    try:
        return ParseDict(_with_base64_ids(fields), ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadMessageError("not_otlp", f"not an ExportTraceServiceRequest in JSON: {type(error).__name__}") from None


def _with_base64_ids(value: Any) -> Any:
    """Return the JSON value with every id written as protobuf's JSON mapping wants it; a bad id becomes empty."""
    if isinstance(value, list):
        return [_with_base64_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _base64_id(item, _ID_BYTES[name]) if name in _ID_BYTES else _with_base64_ids(item)
        for name, item in value.items()
    }


def _base64_id(text: Any, n_bytes: int) -> str:
    if not isinstance(text, str):
        return ""
    try:  # some writers use protobuf's own mapping; the lengths tell the two apart
        raw = bytes.fromhex(text) if len(text) == 2 * n_bytes else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return ""
    return base64.b64encode(raw).decode() if len(raw) == n_bytes else ""
