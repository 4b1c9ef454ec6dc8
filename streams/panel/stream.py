"""`/api/stream`: a server-sent event for each result and alert, with ids, heartbeats and what was missed."""

from __future__ import annotations

import orjson
from aiohttp import web
from aiohttp_sse import EventSourceResponse

from streams.panel.live import Hub
from streams.panel.query import name_of

HEARTBEAT_S = 10.0
MAX_STREAMS = 500
RETRY_MS = 1000


async def serve(request: web.Request, live: Hub) -> web.StreamResponse:
    """Send events until the page goes away, the subscriber is dropped or the server stops.

    ``Last-Event-ID`` (a reconnecting browser) or ``?last=`` (a page just rendered) say what was
    seen; ``?model=`` keeps to one model.
    """
    if live.n_subscribers >= MAX_STREAMS:
        raise web.HTTPServiceUnavailable(
            text=f"{MAX_STREAMS} pages are open already; close some", headers={"Retry-After": "30"}
        )
    last_id = request.headers.get("Last-Event-ID") or request.query.get("last")
    subscriber = live.subscribe(last_id, name_of(request.query, "model", "") or None)
    try:
        response = EventSourceResponse(send_timeout=20.0)
        await response.prepare(request)
        async with response:
            await response.send("{}", id=live.last_id if last_id is None else None, event="hello", retry=RETRY_MS)
            while response.is_connected():
                message = await subscriber.next(HEARTBEAT_S)
                if message is None:
                    await response.send("{}", event="beat")
                else:
                    await response.send(orjson.dumps(message.data).decode(), id=message.id, event=message.kind)
    except (StopAsyncIteration, ConnectionError, TimeoutError):
        pass
    finally:
        live.unsubscribe(subscriber)
    return response
