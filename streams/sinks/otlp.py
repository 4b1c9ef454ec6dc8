"""Spans, on to any OTLP/HTTP endpoint: Phoenix, a collector, another vendor.

What is temporary is repeated for ever, with the caller told each time; what the endpoint refuses
is narrowed down to the spans it refuses, so that good spans of the same message still arrive.
Sending a span twice is harmless where the endpoint knows it by its id, as Phoenix does.

Source: the OpenTelemetry protocol specification, OTLP/HTTP; statuses as Phoenix was seen to use them.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from schemas.parsing import BadMessageError
from schemas.sanitised import MAX_TEXT, DroppedSpan, sanitise
from schemas.spans import PROTOBUF, decode, encode, halves, located
from streams.sinks.errors import SinkMisconfigured, SinkRejected
from streams.sinks.retries import OnRetry, TryAgain, retry_after_s, until_taken
from streams.sinks.wording import clean

REFUSED = frozenset({400, 413, 415, 422})
MAX_NAMED = 8


class SpansRejected(SinkRejected):
    """Spans of a message can never be sent; the others of it have arrived.

    Attributes
    ----------
    reason
        One word of a small fixed set: ``refused``, ``bad_ids`` or why the message is no OTLP.
    spans
        Which spans; empty when the whole message could not be read.
    n_delivered
        How many spans of the message have arrived.
    """

    def __init__(self, reason: str, detail: str, spans: list[DroppedSpan], n_delivered: int) -> None:
        super().__init__(detail)
        self.reason = reason
        self.spans = spans
        self.n_delivered = n_delivered


class OtlpForwarder:
    """Sends messages of spans to one endpoint. Use it as an async context manager, or `close` it.

    Parameters
    ----------
    endpoint
        The URL; without a path, ``/v1/traces`` is added.
    headers
        Added to each request, as for authorization; appear in no log, error or repr.
    on_retry
        Called before each wait with the reason and the seconds until the next try.
    timeout_s
        How long one request may take.
    first_wait_s, max_wait_s
        Bounds of the random waits between tries.
    max_text
        Longer texts in spans are cut, in characters.

    Attributes
    ----------
    n_partly_refused
        How many spans the endpoint said it refused while it took their request; it does not say
        which, and the protocol forbids sending them again.
    """

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str] | None = None,
        *,
        on_retry: OnRetry | None = None,
        timeout_s: float = 30.0,
        first_wait_s: float = 0.2,
        max_wait_s: float = 5.0,
        max_text: int = MAX_TEXT,
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ValueError(
                f"the OTLP endpoint has to begin with http:// or https://, not {parts.scheme or 'nothing'!r}"
            )
        path = parts.path if parts.path.strip("/") else "/v1/traces"
        self._url = urlunsplit(parts._replace(path=path))
        self._where = f"{parts.hostname}{f':{parts.port}' if parts.port else ''}{path}"
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._max_text = max_text
        self._gzip = True
        self.n_partly_refused = 0
        self._session: aiohttp.ClientSession | None = None
        self._until_taken = partial(
            until_taken,
            destination=f"OTLP endpoint {self._where}",
            first_wait_s=first_wait_s,
            max_wait_s=max_wait_s,
            on_retry=on_retry,
        )

    def __repr__(self) -> str:
        return f"OtlpForwarder({self._where!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def forward(self, value: bytes, content_type: str | None = None) -> int:
        """Send one message; returns the number of its spans when the endpoint has taken them.

        Parameters
        ----------
        value
            An ExportTraceServiceRequest, as protobuf or as OTLP/JSON.
        content_type
            The header of that name; without it the first byte decides.

        Raises
        ------
        SpansRejected
            Some or all spans can never be sent. The others have arrived.
        SinkMisconfigured
            The endpoint, its credentials or its path are wrong; the spans are fine.
        """
        try:
            request = decode(value, content_type=content_type)
        except BadMessageError as bad:
            reason, detail = bad.args
            raise SpansRejected(reason, detail, [], 0) from None
        without_ids = sanitise(request, max_text=self._max_text)
        refused = await self._deliver(request)
        n_delivered = sum(1 for _ in located(request)) - len(refused)
        if rejected := [*refused, *without_ids]:
            detail = f"{len(rejected)} of {len(rejected) + n_delivered} spans can never be sent: {_named(rejected)}"
            raise SpansRejected("refused" if refused else "bad_ids", detail, rejected, n_delivered)
        return n_delivered

    async def _deliver(self, request: ExportTraceServiceRequest) -> list[DroppedSpan]:
        """Send a request and return what was refused of it, asking with ever smaller parts."""
        refused: list[DroppedSpan] = []
        waiting = [request]
        while waiting:
            part = waiting.pop()
            spans = [one.span for one in located(part)]
            reason = await self._until_taken(partial(self._send, encode(part))) if spans else ""
            if reason and len(spans) > 1:
                waiting.extend(reversed(halves(part)))
            elif reason:
                refused.append(DroppedSpan(spans[0].trace_id.hex(), spans[0].span_id.hex(), reason))
        return refused

    async def _send(self, body: bytes) -> str:
        """Send once; return "" when taken, and why when refused for what it holds."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout_s))
        headers = {**self._headers, "Content-Type": PROTOBUF, **({"Content-Encoding": "gzip"} if self._gzip else {})}
        data = gzip.compress(body, 1) if self._gzip else body
        try:
            async with self._session.post(self._url, data=data, headers=headers, allow_redirects=False) as response:
                status, answer, asked = response.status, await response.read(), response.headers.get("Retry-After")
        except TimeoutError:
            raise TryAgain(f"no answer within {self._timeout_s:g} s") from None
        except aiohttp.InvalidURL:
            raise SinkMisconfigured("the OTLP endpoint is no URL; check the setting") from None
        except (aiohttp.ClientError, OSError) as error:
            raise TryAgain(f"connection failed: {type(error).__name__}") from None
        if 200 <= status < 300:
            self.n_partly_refused += _n_partly_refused(answer)
            return ""
        reason = f"{status} {clean(answer.decode(errors='replace'), 100)}".strip()
        if status == 415 and self._gzip:
            self._gzip = False  # some endpoints take no compressed body; those that do never answer so
            return await self._send(body)
        if status in REFUSED:  # without the answer's text: it may quote what a span holds
            return f"{status} {HTTPStatus(status).phrase}"
        if status in (408, 429) or status >= 500:
            raise TryAgain(reason, retry_after_s(asked))
        raise SinkMisconfigured(f"OTLP endpoint {self._where} answered {reason}; check its URL and headers")


def _named(spans: list[DroppedSpan]) -> str:
    """Name the first spans and why, as trace id / span id."""
    named = [f"{one.trace_id or '(none)'}/{one.span_id or '(none)'} ({one.reason})" for one in spans[:MAX_NAMED]]
    return ", ".join(named) + (f" and {len(spans) - MAX_NAMED} more" if len(spans) > MAX_NAMED else "")


def _n_partly_refused(answer: bytes) -> int:
    """Return how many spans a 200 says it refused all the same (OTLP's partial success)."""
    try:
        return int(ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans)
    except DecodeError:  # an answer in another form
        return 0
