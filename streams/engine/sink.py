"""Agents whose state is outside: deliver in order, then commit. At least once, never fewer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import faust

from schemas.records import Record
from streams import tracing
from streams.engine import private

log = logging.getLogger(__name__)

GRACE_S = 0.75


class SinkAgent:
    """Hands the records of a topic to a destination, some thousands or a second's worth at a time.

    Parameters
    ----------
    deliver
        Takes records of one partition in offset order and returns the commit metadata once they are
        safe. It retries what can be retried, for ever if need be; raising ends the process. It is
        cancelled when the partitions go: nothing was committed, so the next owner delivers them.
    begin
        Takes (partition, the metadata committed last) before the first record of a partition.
    lost
        Takes (name, how many records) when records were deleted before they were delivered.
    """

    def __init__(
        self,
        app: faust.App,
        *,
        name: str,
        topic: str,
        deliver: Callable[[int, Sequence[Record]], Awaitable[str]],
        begin: Callable[[int, str], None] = lambda _partition, _metadata: None,
        leave: Callable[[str], None],
        lost: Callable[[str, int], None] = lambda _agent, _n_records: None,
        max_records: int = 5_000,
        wait_s: float = 1.0,
    ) -> None:
        self.app, self.name, self.topic = app, name, topic
        self.held: dict[int, int] = {}
        self._deliver, self._begin, self._leave, self._lost = deliver, begin, leave, lost
        self._max_records, self._wait_s = max_records, wait_s
        self._waiting: dict[int, list[Record]] = {}
        self._since: dict[int, float] = {}
        self._lock = asyncio.Lock()
        self._delivery: asyncio.Future[str] | None = None
        self._releasing = 0

    async def take(self, records: Sequence[Record]) -> None:
        """Queue the records of one partition; called by the Faust agent."""
        partition = records[0].partition
        async with self._lock:
            if partition not in self.held:
                return
            waiting = self._waiting.setdefault(partition, [])
            position = waiting[-1].offset + 1 if waiting else self.held[partition]
            if records[0].offset > position:
                await self._check_gap(partition, position)
            waiting += [record for record in records if record.offset >= position]
            self._since.setdefault(partition, time.monotonic())
            if len(waiting) >= self._max_records:
                await self._send(partition)

    async def _check_gap(self, partition: int, position: int) -> None:
        """Report records that the broker deleted before they were delivered.

        Compaction and the ends of transactions leave offsets out as well, so the log's start decides.
        """
        first = await private.first_offset(self.app, self.topic, partition)
        if first > position > 0:
            where = f"{self.topic}/{partition}: the log begins at {first}, the position was {position}"
            place = {"agent": self.name, "topic": self.topic, "partition": partition, "offset": position}
            log.error("state_lost: %s %s (%d records)", self.name, where, first - position, extra=place)
            self._lost(self.name, first - position)

    async def flush(self) -> None:
        """Deliver what has waited long enough."""
        async with self._lock:
            now = time.monotonic()
            for partition in [p for p, since in self._since.items() if now - since >= self._wait_s]:
                await self._send(partition)

    async def checkpoint(self) -> None:
        """Deliver everything that waits."""
        async with self._lock:
            for partition in list(self._since):
                await self._send(partition)

    async def _send(self, partition: int) -> None:
        records = self._waiting.pop(partition, [])
        self._since.pop(partition, None)
        if not records:
            return
        for start in range(0, len(records), self._max_records):
            part = records[start : start + self._max_records]
            position = part[-1].offset + 1
            try:
                metadata = await self._delivered(partition, part)
                if metadata is None:
                    return
                await private.commit(self.app, self.topic, partition, position, metadata)
            except Exception as error:  # also a refused commit: somebody else delivers these now
                where = f"{self.topic}/{partition}@{part[0].offset}"
                place = {"agent": self.name, "topic": self.topic, "partition": partition, "offset": part[0].offset}
                log.exception("%s: %s", self.name, where, extra=place)
                self._leave(f"{self.name} failed on {where}: {type(error).__name__}: {error}")
                raise
            self.held[partition] = position

    async def _delivered(self, partition: int, records: Sequence[Record]) -> str | None:
        """Return the commit metadata, None when the partitions went before the records were safe."""
        if self._releasing:
            return None
        with tracing.records_span("deliver", self.name, records):
            self._delivery = delivery = asyncio.ensure_future(self._deliver(partition, records))
            try:
                await asyncio.wait([delivery])
            finally:
                delivery.cancel()
                self._delivery = None
        return None if delivery.cancelled() else delivery.result()

    async def release(self) -> None:
        """Forget the partitions; what was not delivered is read again by the next owner.

        A delivery under way has a moment to end; it is not waited for while the destination is down.
        """
        self._releasing += 1  # whoever waits for the lock before us begins no delivery
        try:
            if self._delivery is not None:
                await asyncio.wait([self._delivery], timeout=GRACE_S)
            if self._delivery is not None:
                self._delivery.cancel()
            async with self._lock:
                self._waiting.clear()
                self._since.clear()
                self.held.clear()
        finally:
            self._releasing -= 1

    async def finish(self) -> None:
        """Deliver what waits if the destination takes it at once, then forget the partitions."""
        rest = asyncio.ensure_future(self.checkpoint())
        await asyncio.wait([rest], timeout=GRACE_S)
        await self.release()
        await rest

    async def restore(self, partitions: Iterable[int]) -> None:
        """Take over partitions."""
        wanted = sorted(set(partitions) - self.held.keys())
        if not wanted:
            return
        commits = await private.committed(self.app, self.topic, wanted)
        async with self._lock:
            for partition in wanted:
                commit = commits.get(partition)
                self._begin(partition, commit.metadata if commit else "")
                self.held[partition] = commit.offset if commit else 0

    def lags(self) -> dict[int, int]:
        """Return how many records each partition still has to be delivered."""
        return {
            partition: private.remaining(self.app, self.topic, partition, position) or 0
            for partition, position in self.held.items()
        }

    def positions(self) -> dict[tuple[str, int], Any]:
        """Return the position of every partition held."""
        return {(self.topic, partition): position for partition, position in self.held.items()}
