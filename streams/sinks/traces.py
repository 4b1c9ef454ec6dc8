"""Spans of our own out to an OTLP/HTTP endpoint, in batches, from a thread; what cannot be sent is dropped.

Source: the OpenTelemetry protocol specification, OTLP/HTTP.
"""

from __future__ import annotations

import gzip
import http.client
import logging
import os
import socket
import urllib.request
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Tracer

from schemas.spans import PROTOBUF
from streams.settings import Settings

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
LAST_TIMEOUT_S = 1.0
EVERY_MS = 1_000
SAMPLED = frozenset({"take"})  # there are many a second; checkpoints, restores and sends are all traced


class _ByName(Sampler):
    """Takes a share of the spans that come with every batch, and all others."""

    def __init__(self, share: float) -> None:
        self._share = TraceIdRatioBased(share)

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *args: Any, **more: Any) -> SamplingResult:
        """Decide on a span without a parent."""
        sampler: Sampler = self._share if name in SAMPLED else ALWAYS_ON
        return sampler.should_sample(parent_context, trace_id, name, *args, **more)

    def get_description(self) -> str:
        """Name the sampler."""
        return f"by name, {self._share.get_description()}"


class OtlpExporter(SpanExporter):
    """Posts batches of spans. A failure is told once, until it has worked again."""

    def __init__(self, endpoint: str, headers: dict[str, str]) -> None:
        self._url = endpoint if urlsplit(endpoint).path.strip("/") else f"{endpoint.rstrip('/')}/v1/traces"
        self._headers = {**headers, "Content-Type": PROTOBUF, "Content-Encoding": "gzip"}
        self._failed = self._closing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch once."""
        if self._closing and self._failed:
            return SpanExportResult.FAILURE  # a clean stop does not wait for an endpoint that is down
        body = gzip.compress(encode_spans(spans).SerializeToString(), 1)
        timeout_s = LAST_TIMEOUT_S if self._closing else TIMEOUT_S
        try:
            request = urllib.request.Request(self._url, body, self._headers)
            with urllib.request.urlopen(request, timeout=timeout_s):
                self._failed = False
                return SpanExportResult.SUCCESS
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not self._failed:
                why = getattr(error, "reason", None) or type(error).__name__
                log.warning("traces are dropped: %s: %s; check DRIFTGAUGE_TRACES_ENDPOINT", self._url, why)
            self._failed = True
            return SpanExportResult.FAILURE

    def close(self) -> None:
        """Be quick from now on."""
        self._closing = True


def exporting(settings: Settings, role: str) -> tuple[Tracer, Callable[[], None]]:
    """Return a tracer whose spans go to the endpoint of the settings, and what sends the rest and ends it."""
    headers = {name: secret.get_secret_value() for name, secret in settings.traces_headers.items()}
    exporter = OtlpExporter(settings.traces_endpoint or "", headers)
    provider = TracerProvider(
        sampler=ParentBased(_ByName(settings.traces_sample)),
        resource=Resource(
            {
                "service.name": f"driftgauge-{role}",
                "service.version": version("driftgauge"),
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            }
        ),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EVERY_MS))

    def close() -> None:
        exporter.close()
        provider.shutdown()

    return provider.get_tracer("driftgauge"), close
