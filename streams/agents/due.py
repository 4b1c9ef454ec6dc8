"""Of which models there is something to tell, found without asking all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from streams.agents.resting import Known, Models
from streams.agents.tally import NEVER

NOW = -1


class Due:
    """When each model is to be looked at next.

    A model is in the queue once. Its entry may come too early, as rows have come since: then it is put
    back. A model that is idle with nothing open is in no queue until rows come.

    Parameters
    ----------
    idle_ms
        Gives a model's idle time-out.
    """

    def __init__(self, models: Models, idle_ms: Callable[[str], int]) -> None:
        self._models, self._idle_ms = models, idle_ms
        self._now: dict[str, None] = {}
        self._queue: list[tuple[int, str]] = []

    def add(self, model: str) -> None:
        """See when a model of which rows came is to be looked at."""
        known = self._models.get(model)
        assert known is not None, "it has rows"
        at = self._at(model, known)
        if at == NOW:
            self._now[model] = None
        elif at < NEVER and not known.queued:
            known.queued = True
            heappush(self._queue, (at, model))

    def told(self, model: str) -> None:
        """Take note that everything of a model was told."""
        known = self._models.get(model)
        assert known is not None, "it was told of"
        known.urgent = False
        self.add(model)

    def until(self, passed: int) -> Iterator[str]:
        """Yield the models due when record time has come to `passed`; each is to be `told` before the next."""
        now, self._now = self._now, {}
        yield from now
        while self._queue and self._queue[0][0] <= passed:
            _, model = heappop(self._queue)
            known = self._models.get(model)
            if known is None:
                continue
            known.queued = False
            if self._at(model, known) <= passed:
                yield model
            else:
                self.add(model)

    def _at(self, model: str, known: Known) -> int:
        """Return the record time at which a model is to be looked at, `NOW`, or `NEVER`."""
        if known.urgent or known.newest >= known.boundary:
            return NOW
        if not known.idle:
            return known.record_time + self._idle_ms(model)
        if known.boundary == NEVER:
            return NEVER
        return known.record_time + known.boundary - known.newest
