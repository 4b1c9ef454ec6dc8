"""Reading a topic without a group: control topics by every worker, results by every panel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from schemas.records import Record
from streams.engine import private
from streams.engine.connection import reader
from streams.engine.positions import bounds
from streams.settings import Settings

log = logging.getLogger(__name__)

METADATA_TIMEOUT_S = 30.0


class Follower:
    """Hands over every record of some topics, from the beginning or from now on, then follows them.

    Parameters
    ----------
    update
        Called with each record. Raising ends the follower; `on_failure` is told.
    from_end
        Begin at the end of the topics instead of the beginning.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        update: Callable[[Record], None],
        *,
        on_failure: Callable[[str], None],
        from_end: bool = False,
    ) -> None:
        self._settings, self._topics, self._update = settings, topics, update
        self._on_failure, self._from_end = on_failure, from_end
        self._consumer: Any = None
        self._task: asyncio.Task[None] | None = None
        self._positions: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Read everything that is there now, then go on in the background."""
        self._consumer = reader(self._settings, metadata_max_age_ms=15_000)
        await self._consumer.start()
        ends = {}
        for tp in await self._partitions():
            first, end = await bounds(self._consumer, tp)
            self._positions[tp] = end if self._from_end else first
            ends[tp] = end
        self._consumer.assign(list(self._positions))
        for tp, position in self._positions.items():
            self._consumer.seek(tp, position)
        while any(self._positions[tp] < end for tp, end in ends.items()):
            await self._read_or_jump(500)
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def _partitions(self) -> list[TopicPartition]:
        """Find the partitions of all topics; a new topic may take a moment to appear."""
        deadline = asyncio.get_running_loop().time() + METADATA_TIMEOUT_S
        while True:
            found = []
            await private.refresh_metadata(self._consumer, self._topics)
            for topic in self._topics:
                partitions = self._consumer.partitions_for_topic(topic) or set()
                found.append([TopicPartition(topic, partition) for partition in sorted(partitions)])
            if all(found):
                return [tp for tps in found for tp in tps]
            if asyncio.get_running_loop().time() > deadline:
                missing = [topic for topic, tps in zip(self._topics, found, strict=True) if not tps]
                raise TimeoutError(f"topics {', '.join(missing)} do not exist; run `driftgauge topics create`")
            await asyncio.sleep(0.2)

    async def _read(self, timeout_ms: int) -> None:
        for tp, records in (await self._consumer.getmany(timeout_ms=timeout_ms)).items():
            for record in records:
                self._update(record)
            self._positions[tp] = records[-1].offset + 1

    async def _read_or_jump(self, timeout_ms: int) -> None:
        try:
            await self._read(timeout_ms)
        except OffsetOutOfRangeError:
            await self._jump()

    async def _follow(self) -> None:
        while True:
            try:
                await self._read_or_jump(1000)
            except Exception as error:
                log.exception("following %s", ", ".join(self._topics))
                self._on_failure(f"following {', '.join(self._topics)}: {type(error).__name__}: {error}")
                return

    async def _jump(self) -> None:
        """Records were deleted before they were read: say how many, go on at the first that is left."""
        for tp, position in self._positions.items():
            first, _ = await bounds(self._consumer, tp)
            if first > position:
                where = f"{tp.topic}/{tp.partition}"
                log.error("%s: %d records were deleted before they were read", where, first - position)
                self._positions[tp] = first
                self._consumer.seek(tp, first)

    async def stop(self) -> None:
        """Stop following."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._consumer:
            await self._consumer.stop()


async def newest_records(
    settings: Settings, topic: str, limit: int, wanted: Callable[[Record], bool] = lambda _record: True
) -> list[Record]:
    """Return the newest records of a topic that are wanted, by Kafka timestamp, the newest first.

    Each partition is read backwards in steps until enough are found.
    """
    consumer = reader(settings)
    await consumer.start()
    try:
        await private.refresh_metadata(consumer, [topic])
        places = [TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(places)
        found: list[Record] = []
        for place in places:
            found += await _newest_of(consumer, place, limit, wanted)
    finally:
        await consumer.stop()
    return sorted(found, key=lambda record: (-record.timestamp, record.partition, -record.offset))[:limit]


async def _newest_of(
    consumer: Any, place: TopicPartition, limit: int, wanted: Callable[[Record], bool]
) -> list[Record]:
    first, end = await bounds(consumer, place)
    found: list[Record] = []
    step = limit
    while end > first and len(found) < limit:
        start = max(first, end - step)
        consumer.seek(place, start)
        records: list[Record] = []
        while not records or records[-1].offset + 1 < end:
            got = (await consumer.getmany(place, timeout_ms=2_000)).get(place, [])
            if not got:
                break  # what is left of the range is the end of a transaction
            records += got
        found = [record for record in records if record.offset < end and wanted(record)] + found
        end, step = start, 2 * step
    return found[-limit:]
