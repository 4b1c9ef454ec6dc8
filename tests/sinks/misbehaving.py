"""A front before the store that fails the next inserts as it is told; everything else passes through."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Literal, Self

from aiohttp import ClientSession, DummyCookieJar, web

Fault = Literal["500", "503", "400", "slow", "slow_after", "cut_before", "cut_after"]


class Misbehaving:
    """`faults` are used up one by one, each by one insert."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.faults: deque[Fault] = deque()
        self.n_inserts = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._session = ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar())
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, auto_decompress=False, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        fault: Fault | None = None
        if request.query.get("query", "").startswith("INSERT"):
            self.n_inserts += 1
            fault = self.faults.popleft() if self.faults else None
        if fault == "400":
            text = "Code: 53. DB::Exception: Cannot convert string to Float64. (TYPE_MISMATCH)"
            return web.Response(status=400, text=text, headers={"X-ClickHouse-Exception-Code": "53"})
        if fault in ("500", "503"):
            return web.Response(status=int(fault), text="out of order")
        if fault == "slow":
            await asyncio.Event().wait()
        if fault == "cut_before":
            return self._cut(request)
        answer = await self._forward(request, body)
        if fault == "slow_after":
            await asyncio.Event().wait()
        return self._cut(request) if fault == "cut_after" else answer

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        kept = ("Authorization", "Content-Encoding", "Content-Type", "Accept-Encoding")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        asked = self._session.request(
            request.method, self._target + request.path, params=request.query, data=body, headers=headers
        )
        async with asked as answer:
            passed = {name: value for name, value in answer.headers.items() if name.startswith("X-ClickHouse")}
            return web.Response(status=answer.status, body=await answer.read(), headers=passed)

    def _cut(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
