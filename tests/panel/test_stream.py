"""`/api/stream` over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse

from streams.panel import stream
from streams.panel.live import Hub
from tests.panel.conftest import Start
from tests.panel.story import one_result

Event = dict[str, str]


async def events(response: ClientResponse) -> AsyncIterator[Event]:
    """Parse server-sent events as a browser does."""
    event: Event = {}
    async for raw in response.content:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if "data" in event:
                yield event
            event = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value


async def take(response: ClientResponse, n: int) -> list[Event]:
    """Return the next `n` events."""
    found = []
    async with asyncio.timeout(5):
        async for event in events(response):
            found.append(event)
            if len(found) == n:
                break
    return found


async def test_a_published_result_is_an_event_with_an_id(start: Start, hub: Hub) -> None:
    client = await start()
    response = await client.get("/api/stream")
    assert response.content_type == "text/event-stream"
    assert [event["event"] for event in await take(response, 1)] == ["hello"]
    hub.publish(one_result("a"))
    (event,) = await take(response, 1)
    assert event["event"] == "result"
    assert event["id"] == hub.last_id
    assert '"model":"a"' in event["data"]


async def test_a_reconnect_with_last_event_id_gets_what_was_missed(start: Start, hub: Hub) -> None:
    client = await start()
    hub.publish(one_result("a", 0))
    seen = hub.last_id
    hub.publish(one_result("a", 1))
    for request in ({"headers": {"Last-Event-ID": seen}}, {"params": {"last": seen}}):
        response = await client.get("/api/stream", **request)  # type: ignore[arg-type]  # either form of the same id
        hello, missed = await take(response, 2)
        assert (hello["event"], missed["event"], missed["id"]) == ("hello", "result", hub.last_id)
        response.close()


async def test_a_reconnect_to_another_process_gets_a_reset(start: Start) -> None:
    client = await start()
    response = await client.get("/api/stream", headers={"Last-Event-ID": "0badcafe-17"})
    assert [event["event"] for event in await take(response, 2)] == ["hello", "reset"]


async def test_a_newline_in_a_name_cannot_forge_an_event(start: Start, hub: Hub) -> None:
    client = await start()
    response = await client.get("/api/stream")
    await take(response, 1)
    hub.publish(one_result("a\n\nevent: forged\ndata: {}\n\n"))
    hub.publish(one_result("b"))
    assert [event["event"] for event in await take(response, 2)] == ["result", "result"]


async def test_a_page_that_leaves_is_forgotten(start: Start, hub: Hub) -> None:
    client = await start()
    response = await client.get("/api/stream")
    await take(response, 1)
    assert hub.n_subscribers == 1
    response.close()
    async with asyncio.timeout(5):
        while hub.n_subscribers:
            hub.publish(one_result("a", hub.n_subscribers))
            await asyncio.sleep(0)


async def test_stopping_the_server_does_not_wait_for_open_pages(start: Start) -> None:
    client = await start()
    await take(await client.get("/api/stream"), 1)
    async with asyncio.timeout(3):
        await client.server.close()


async def test_a_beat_tells_a_quiet_page_that_the_server_lives(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.02)
    client = await start()
    assert [event["event"] for event in await take(await client.get("/api/stream"), 3)] == ["hello", "beat", "beat"]


async def test_more_pages_than_the_limit_are_told_so(start: Start, hub: Hub) -> None:
    for _ in range(stream.MAX_STREAMS):
        hub.subscribe()
    client = await start()
    response = await client.get("/api/stream")
    assert response.status == 503
    assert response.headers["Retry-After"] == "30"
