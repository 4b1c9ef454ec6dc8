"""A local server that speaks Slack's incoming-webhook protocol and misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

PATH = "/services/T00000000/B00000000/XSECRETXSECRETXSECRETX"


class Slack:
    """What the server was sent, and what it will answer; it says ``ok`` when nothing is planned.

    `planned` holds (status, body, headers), ``"cut"`` (close before answering), ``"cut_after"`` (take it,
    then close without an answer) or ``"slow"`` (answer only at the end of the test).
    """

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.planned: deque[tuple[int, str, dict[str, str]] | str] = deque()
        self.over = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request as planned."""
        self.times.append(asyncio.get_running_loop().time())
        if request.content_type != "application/json":
            return web.Response(status=400, text="invalid_payload")
        body = await request.json()
        if not body.get("text"):
            return web.Response(status=400, text="no_text")
        plan = self.planned.popleft() if self.planned else (200, "ok", {})
        if plan == "slow":
            await self.over.wait()
        if isinstance(plan, str):
            if plan == "cut_after":
                self.bodies.append(body)
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, text, headers = plan
        if status == 200:
            self.bodies.append(body)
        return web.Response(status=status, text=text, headers=headers)


@asynccontextmanager
async def slack_server() -> AsyncIterator[Slack]:
    """Serve on a free port of 127.0.0.1."""
    slack = Slack()
    app = web.Application()
    app.router.add_post(PATH, slack.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    slack.url = f"http://127.0.0.1:{port}{PATH}"
    try:
        yield slack
    finally:
        slack.over.set()
        await runner.cleanup()
