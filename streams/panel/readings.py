"""The past from the store and the present from the hub, read as one.

Identity is (run, model, slice, scale, window): the higher revision wins wherever it comes from.
When the store does not answer, the hub alone answers and the reading says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from schemas.alerts import Alert
from schemas.results import Result
from streams.panel.history import LIVE, History
from streams.panel.live import Hub

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_WINDOWS = 1000
MAX_EPISODES = 500
MAX_SERIES = 2000


class Reading(msgspec.Struct, Generic[T], frozen=True):
    """What was read, and why the store's part of it is missing (None when it is not)."""

    items: list[T]
    problem: str | None = None


class Range(msgspec.Struct, frozen=True):
    """Which windows of a model: half-open `[start_ms, end_ms)` in event time, the newest `n_windows` of them."""

    slice: str = ""
    scale: int = 1
    start_ms: int | None = None
    end_ms: int | None = None
    n_windows: int = 200
    run_id: str = LIVE

    def holds(self, result: Result) -> bool:
        """Whether the result's window starts in the range."""
        return (self.start_ms is None or result.window_start >= self.start_ms) and (
            self.end_ms is None or result.window_start < self.end_ms
        )


class Readings:
    """Reads history and hub together.

    Answers of the store are kept for `keep_s` seconds, failures as well, so that many pages
    refreshing at once ask it once and a store that hangs costs `timeout_s` only now and then.
    """

    def __init__(self, history: History, live: Hub, *, timeout_s: float = 3.0, keep_s: float = 1.0) -> None:
        self._history = history
        self._live = live
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._failing = False  # logged when it changes, not at every question
        self._asked: OrderedDict[tuple[Any, ...], tuple[float, asyncio.Task[Reading[Any]]]] = OrderedDict()

    async def newest(self, run_id: str = LIVE) -> Reading[Result]:
        """Return the newest result of every (model, slice, scale)."""
        past: Reading[Result] = await self._ask(
            ("latest", run_id), lambda: self._history.latest(run_id=run_id, limit=MAX_SERIES)
        )
        newest: dict[tuple[str, str, int], Result] = {}
        for result in (*past.items, *self._live.newest(run_id)):
            key = (result.model, result.slice, result.scale)
            known = newest.get(key)
            if known is None or (result.window_end, result.revision) > (known.window_end, known.revision):
                newest[key] = result
        return Reading(list(newest.values()), past.problem)

    async def windows(self, model: str, within: Range, feature: str | None = None) -> Reading[Result]:
        """Return the windows of one model, slice and scale, oldest first."""
        past: Reading[Result] = await self._ask(
            ("results", model, within, feature),
            lambda: self._history.results(
                model,
                run_id=within.run_id,
                slice=within.slice,
                scale=within.scale,
                feature=feature,
                start_ms=within.start_ms,
                end_ms=within.end_ms,
                limit=within.n_windows,
            ),
        )
        heard = self._live.results((model, within.slice, within.scale), within.run_id)
        merged = _last_revisions((*past.items, *(result for result in heard if within.holds(result))))
        return Reading(merged[-within.n_windows :], past.problem)

    async def alerts(self, model: str | None = None) -> Reading[Alert]:
        """Return the newest state of each episode, newest first."""
        past: Reading[Alert] = await self._ask(
            ("alerts", model), lambda: self._history.alerts(model=model, limit=MAX_EPISODES)
        )
        newest: dict[str, Alert] = {}
        for alert in (*past.items, *self._live.alerts()):
            known = newest.get(alert.episode_id)
            if (model is None or alert.model == model) and (known is None or alert.sequence > known.sequence):
                newest[alert.episode_id] = alert
        ordered = sorted(newest.values(), key=lambda alert: (alert.opened, alert.episode_id), reverse=True)
        return Reading(ordered[:MAX_EPISODES], past.problem)

    async def _ask(self, key: tuple[Any, ...], read: Callable[[], Awaitable[Sequence[T]]]) -> Reading[T]:
        now = time.monotonic()
        asked = self._asked.get(key)
        if asked is None or (asked[1].done() and now - asked[0] > self._keep_s):
            asked = (now, asyncio.create_task(self._read(read)))
            self._asked[key] = asked
            while len(self._asked) > 64:
                self._asked.popitem(last=False)
        return await asyncio.shield(asked[1])

    async def _read(self, read: Callable[[], Awaitable[Sequence[T]]]) -> Reading[T]:
        try:
            async with asyncio.timeout(self._timeout_s):
                items = list(await read())
            if self._failing:
                log.info("history is available again")
            self._failing = False
            return Reading(items)
        except TimeoutError:
            problem = f"the store did not answer within {self._timeout_s:g} s"
        except Exception as error:  # the page must open whatever the store does
            problem = f"the store cannot be read ({type(error).__name__})"
            if not self._failing:
                log.warning("history unavailable: %s: %s", type(error).__name__, error)
        self._failing = True
        return Reading([], problem)


def _last_revisions(results: Iterable[Result]) -> list[Result]:
    last: dict[int, Result] = {}
    for result in results:
        known = last.get(result.window_start)
        if known is None or (result.monitor_version, result.revision) >= (known.monitor_version, known.revision):
            last[result.window_start] = result
    return [last[start] for start in sorted(last)]
