"""A local OTLP/HTTP endpoint that reads what it is sent and misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from schemas.spans import located


class Endpoint:
    """What arrived, and what will be answered.

    `planned` holds (status, headers), ``"cut"`` (take it, then close without an answer) or
    ``"slow"``; when it is empty, a request with a span named in `poison` is answered with
    `poison_status`, any other one is taken.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[Mapping[str, str]] = []
        self.planned: deque[tuple[int, dict[str, str]] | str] = deque()
        self.poison: set[str] = set()
        self.poison_status = 422
        self.takes_gzip = True
        self.partly_refused = 0
        self.n_requests = 0
        self.over = asyncio.Event()

    @property
    def names(self) -> list[str]:
        """Return the names of the spans that were taken, in order."""
        return [one.span.name for request in self.requests for one in located(request)]

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request, as Phoenix would or as planned."""
        self.n_requests += 1
        self.headers.append(request.headers)
        if request.headers.get("Content-Type") != "application/x-protobuf":
            return web.Response(status=415, text="Unsupported content type")
        if request.headers.get("Content-Encoding") == "gzip" and not self.takes_gzip:
            return web.Response(status=415, text="Unsupported content encoding")
        try:
            spans = ExportTraceServiceRequest.FromString(await request.read())  # aiohttp has unzipped it
        except DecodeError:
            return web.Response(status=422, text="Request body is invalid ExportTraceServiceRequest")
        plan = self.planned.popleft() if self.planned else None
        if isinstance(plan, tuple):
            return web.Response(status=plan[0], text="as planned", headers=plan[1])
        if plan == "slow":
            await self.over.wait()
        if self.poison & {one.span.name for one in located(spans)}:
            return web.Response(status=self.poison_status, text="refused")
        self.requests.append(spans)
        if plan == "cut":
            assert request.transport is not None
            request.transport.close()
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = self.partly_refused
        return web.Response(body=answer.SerializeToString(), content_type="application/x-protobuf")


@asynccontextmanager
async def otlp_endpoint() -> AsyncIterator[Endpoint]:
    """Serve on a free port of 127.0.0.1."""
    endpoint = Endpoint()
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v1/traces", endpoint.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield endpoint
    finally:
        endpoint.over.set()
        await runner.cleanup()
