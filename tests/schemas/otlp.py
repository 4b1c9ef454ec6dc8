"""Spans for tests: made by the real OpenTelemetry SDK, or by hand where the SDK would refuse."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

START_NS = 1_772_366_400_000_000_000


def span(n: int = 1, **fields: Any) -> Span:
    given = {
        "trace_id": n.to_bytes(16, "big"),
        "span_id": n.to_bytes(8, "big"),
        "name": f"call {n}",
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + 1_000_000,
    }
    return Span(**{**given, **fields})


def request(*spans: Span, service: str = "app") -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    resource_spans = made.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = service
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "tests"
    scope_spans.spans.extend(spans)
    return made


def requests(n_spans: int) -> ExportTraceServiceRequest:
    """Return spans numbered from 1, over three resources."""
    made = ExportTraceServiceRequest()
    for part in range(3):
        spans = [span(n) for n in range(1, n_spans + 1) if n % 3 == part]
        made.MergeFrom(request(*spans, service=f"app-{part}"))
    return made


def json_request(**changes: Any) -> bytes:
    fields = {
        "traceId": "0AF7651916CD43DD8448EB211C80319C",
        "spanId": "b7ad6b7169203331",
        "parentSpanId": "00f067aa0ba902b7",
        "name": "chat",
        "kind": 3,
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": str(START_NS + 5),
        "attributes": [
            {"key": "llm.model_name", "value": {"stringValue": "small"}},
            {"key": "llm.token_count.prompt", "value": {"intValue": "12"}},
        ],
        "links": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"}],
        "later": {"unknown": True},
    }
    spans = [{**fields, **changes}]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
