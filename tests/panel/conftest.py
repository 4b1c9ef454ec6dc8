"""A panel over a past in memory, answered by aiohttp's own test server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from streams.panel.live import Hub
from streams.panel.server import create_app
from tests.panel.story import Story, StoryHistory

Client = TestClient[web.Request, web.Application]
Start = Callable[..., Awaitable[Client]]


@pytest.fixture
def hub() -> Hub:
    """A hub that nobody watches yet."""
    return Hub()


@pytest.fixture
def history() -> StoryHistory:
    """A past that holds nothing yet."""
    return StoryHistory(Story())


@pytest.fixture
async def start(hub: Hub, history: StoryHistory) -> AsyncIterator[Start]:
    """Return a function that starts the panel and returns a client of it."""
    clients: list[Client] = []

    async def run(**settings: Any) -> Client:
        defaults = {"token": None, "insecure": False, "registry": CollectorRegistry()}
        app = create_app(history=history, live=hub, baselines=history.story.baselines, **{**defaults, **settings})
        clients.append(TestClient(TestServer(app, host="127.0.0.1")))
        await clients[-1].start_server()
        return clients[-1]

    yield run
    for client in clients:
        await client.close()
