"""The hub between whoever hears results and the pages that are open.

It keeps the newest results in memory, bounded in bytes, so that the pages work while the store is
down or empty, and hands each message to every subscriber through a bounded queue. Everything here
runs on one event loop and never blocks: a subscriber that does not keep up is dropped with a
`reset`, after which it fetches again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Literal

import msgspec

from schemas.alerts import Alert
from schemas.results import Result
from streams.panel.history import LIVE

Kind = Literal["result", "alert", "reset"]
Series = tuple[str, str, int]  # model, slice, scale
_Window = tuple[str, str, int]  # run_id, baseline_id, window_start

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Result).decode


class Message(msgspec.Struct, frozen=True):
    """One server-sent event: its id, its kind and what the page needs to decide whether to fetch."""

    id: str
    kind: Kind
    model: str | None
    data: dict[str, str | int | bool | None]


class Subscriber:
    """One open page. Iterate with `next`; `dropped` says that it was too slow."""

    def __init__(self, model: str | None, n_queued: int) -> None:
        self.model = model
        self.dropped = False
        self._queue: asyncio.Queue[Message] = asyncio.Queue(n_queued)

    def offer(self, message: Message) -> bool:
        """Queue a message this page wants; False when the queue is full."""
        if self.dropped or not (message.model is None or self.model in (None, message.model)):
            return True
        if self._queue.full():
            return False
        self._queue.put_nowait(message)
        return True

    def drop(self, reset: Message) -> None:
        """Forget what is queued and leave only the reset."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(reset)
        self.dropped = True

    async def next(self, timeout_s: float) -> Message | None:
        """Return the next message, or None after `timeout_s` seconds without one.

        Raises
        ------
        StopAsyncIteration
            After the reset of a dropped subscriber was returned.
        """
        if self.dropped and self._queue.empty():
            raise StopAsyncIteration
        try:
            return await asyncio.wait_for(self._queue.get(), timeout_s)
        except TimeoutError:
            return None


class Hub:
    """The newest results and alerts, and those who watch.

    Parameters
    ----------
    memory_bytes
        How many bytes of encoded results are kept; the oldest heard leave first.
    n_queued
        How many messages may wait for one subscriber before it is dropped.
    n_replayable
        How many messages a reconnecting page may have missed without a reset.
    n_episodes
        How many episodes are kept.
    """

    def __init__(
        self,
        *,
        memory_bytes: int = 64_000_000,
        n_queued: int = 256,
        n_replayable: int = 1024,
        n_episodes: int = 1000,
        n_series: int = 2000,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._n_queued = n_queued
        self._n_episodes = n_episodes
        self._n_series = n_series
        self._instance = secrets.token_hex(4)
        self._sequence = 0
        self._recent: deque[Message] = deque(maxlen=n_replayable)
        self._subscribers: set[Subscriber] = set()
        self._windows: dict[Series, dict[_Window, tuple[int, bytes]]] = {}
        self._order: OrderedDict[tuple[Series, _Window], int] = OrderedDict()
        self._held_bytes = 0
        self._newest: OrderedDict[tuple[str, Series], Result] = OrderedDict()
        self._alerts: OrderedDict[str, Alert] = OrderedDict()

    @property
    def last_id(self) -> str:
        """The id of the newest message; a page rendered now has seen everything up to it."""
        return f"{self._instance}-{self._sequence}"

    @property
    def n_subscribers(self) -> int:
        """How many pages are open."""
        return len(self._subscribers)

    @property
    def held_bytes(self) -> int:
        """How many bytes of encoded results are held."""
        return self._held_bytes

    def publish(self, heard: Result | Alert) -> None:
        """Keep a result or an alert state and tell every open page. Older revisions are ignored."""
        if isinstance(heard, Alert):
            known = self._alerts.get(heard.episode_id)
            if known is not None and known.sequence >= heard.sequence:
                return
            self._alerts[heard.episode_id] = heard
            self._alerts.move_to_end(heard.episode_id)
            while len(self._alerts) > self._n_episodes:
                self._alerts.popitem(last=False)
            self._tell("alert", heard.model, {"episode_id": heard.episode_id, "state": heard.state, "time": heard.time})
        elif self._keep(heard):
            self._tell(
                "result",
                heard.model,
                {
                    "run_id": heard.run_id,
                    "slice": heard.slice,
                    "scale": heard.scale,
                    "window_start": heard.window_start,
                    "window_end": heard.window_end,
                    "revision": heard.revision,
                    "state": heard.state,
                },
            )

    def subscribe(self, last_id: str | None = None, model: str | None = None) -> Subscriber:
        """Open a subscription that first gets what was missed since `last_id`, or a reset if that is gone."""
        subscriber = Subscriber(model, self._n_queued)
        for message in self._missed(last_id):
            if not subscriber.offer(message):
                subscriber.drop(self._reset())
                return subscriber
        self._subscribers.add(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Close a subscription; closing twice is harmless."""
        self._subscribers.discard(subscriber)

    def close(self) -> None:
        """Drop every subscriber, so that a stopping server need not wait for open pages."""
        for subscriber in self._subscribers:
            subscriber.drop(self._reset())
        self._subscribers.clear()

    def newest(self, run_id: str = LIVE) -> Iterator[Result]:
        """Yield the newest result of every (model, slice, scale) heard."""
        return (result for (run, _), result in self._newest.items() if run == run_id)

    def results(self, series: Series, run_id: str = LIVE) -> list[Result]:
        """Return the last revisions held of one (model, slice, scale), oldest window first."""
        held = self._windows.get(series, {})
        return [_decode(held[key][1]) for key in sorted(held, key=lambda key: key[2]) if key[0] == run_id]

    def alerts(self) -> list[Alert]:
        """Return the newest state of every episode heard, newest first."""
        return list(reversed(self._alerts.values()))

    def _keep(self, result: Result) -> bool:
        series = (result.model, result.slice, result.scale)
        window = (result.run_id, result.baseline_id, result.window_start)
        known = self._windows.get(series, {}).get(window)
        if known is not None and known[0] > result.revision:
            return False
        encoded = _encode(result)
        if known is not None:
            if known[1] == encoded:
                return False
            self._forget((series, window))
        self._windows.setdefault(series, {})[window] = (result.revision, encoded)
        self._order[series, window] = len(encoded)
        self._held_bytes += len(encoded)
        while self._held_bytes > self._memory_bytes and len(self._order) > 1:
            self._forget(next(iter(self._order)))
        key = (result.run_id, series)
        newest = self._newest.get(key)
        if newest is None or result.window_end >= newest.window_end:
            self._newest[key] = result
            self._newest.move_to_end(key)
            while len(self._newest) > self._n_series:
                self._newest.popitem(last=False)
        return True

    def _forget(self, held: tuple[Series, _Window]) -> None:
        series, window = held
        self._held_bytes -= self._order.pop(held)
        del self._windows[series][window]
        if not self._windows[series]:
            del self._windows[series]

    def _tell(self, kind: Kind, model: str, data: dict[str, str | int | bool | None]) -> None:
        self._sequence += 1
        message = Message(self.last_id, kind, model, {"model": model, **data})
        self._recent.append(message)
        for subscriber in [s for s in self._subscribers if not s.offer(message)]:
            subscriber.drop(self._reset())
            self._subscribers.discard(subscriber)

    def _reset(self) -> Message:
        return Message(self.last_id, "reset", None, {})

    def _missed(self, last_id: str | None) -> list[Message]:
        if last_id is None:
            return []
        instance, _, number = last_id.rpartition("-")
        if instance != self._instance or not number.isdecimal() or len(number) > 18:
            return [self._reset()]
        seen = int(number)
        if not self._sequence - len(self._recent) <= seen <= self._sequence:
            return [self._reset()]
        return [message for message in self._recent if int(message.id.rpartition("-")[2]) > seen]
