"""Reading by position, without a group: what stands at these offsets of this partition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from streams.engine.connection import reader
from streams.settings import Settings

READ_TIMEOUT_S = 30.0


async def bounds(consumer: Any, tp: TopicPartition) -> tuple[int, int]:
    """Return the first offset of a partition and the one after its last."""
    start = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    return start, end


async def poll(consumer: Any, tp: TopicPartition) -> list[Any]:
    """Return the next records of the partition.

    Raises
    ------
    TimeoutError
        When none comes in time: the broker is at fault and not the log.
    """
    async with asyncio.timeout(READ_TIMEOUT_S):
        while True:
            records = await consumer.getmany(tp, timeout_ms=1000)
            if records.get(tp):
                return list(records[tp])


class Range(NamedTuple):
    """Records read again; `n_lost` of those wanted are no longer in the log."""

    records: list[Any]
    n_lost: int


@asynccontextmanager
async def _reading(settings: Settings, tp: TopicPartition) -> AsyncIterator[tuple[Any, int, int]]:
    """Give a consumer of one partition, the partition's first offset and the one after its last."""
    consumer = reader(settings)
    await consumer.start()
    try:
        consumer.assign([tp])
        first, end = await bounds(consumer, tp)
        yield consumer, first, end
    finally:
        await consumer.stop()


async def _records(consumer: Any, tp: TopicPartition, start: int, end: int) -> AsyncIterator[Any]:
    """Yield the records with offsets in [start, end), all of which the log has."""
    consumer.seek(tp, start)
    while start < end:
        for record in await poll(consumer, tp):
            start = record.offset + 1
            if record.offset < end:
                yield record


async def read_range(settings: Settings, topic: str, partition: int, start: int, end: int) -> Range:
    """Read the records with offsets in [start, end) of a partition, without a group."""
    tp = TopicPartition(topic, partition)
    async with _reading(settings, tp) as (consumer, first, _):
        n_lost = max(0, min(first, end) - start)
        return Range([record async for record in _records(consumer, tp, max(first, start), end)], n_lost)


async def read_offsets(settings: Settings, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, bytes]:
    """Read the values at exactly these offsets.

    Raises
    ------
    LookupError
        When one is missing: that is an error and never a jump.
    """
    wanted = set(offsets)
    if not wanted:
        return {}
    tp = TopicPartition(topic, partition)
    low, high = min(wanted), max(wanted)
    async with _reading(settings, tp) as (consumer, first, end):
        if low < first or high >= end:
            raise LookupError(f"{low}..{high} is outside the log {first}..{end}")
        read = _records(consumer, tp, low, high + 1)
        found = {record.offset: record.value or b"" async for record in read if record.offset in wanted}
    if missing := wanted - found.keys():
        raise LookupError(f"offsets {sorted(missing)[:5]} are missing")
    return found


async def keyed(settings: Settings, topic: str, partition: int, key: bytes) -> list[tuple[int, bytes]]:
    """Return offset and value of every record of a partition that has this key."""
    tp = TopicPartition(topic, partition)
    async with _reading(settings, tp) as (consumer, first, end):
        read = _records(consumer, tp, first, end)
        return [(record.offset, record.value or b"") async for record in read if record.key == key]
