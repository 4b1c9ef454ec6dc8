"""Reading by position, without a group: what stands at these offsets of this partition."""

from __future__ import annotations

import asyncio
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


async def read_range(settings: Settings, topic: str, partition: int, start: int, end: int) -> Range:
    """Read the records with offsets in [start, end) of a partition, without a group."""
    consumer = reader(settings)
    await consumer.start()
    try:
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        first, _ = await bounds(consumer, tp)
        n_lost = max(0, min(first, end) - start)
        start = max(first, start)
        records: list[Any] = []
        consumer.seek(tp, start)
        while start < end:
            for record in await poll(consumer, tp):
                start = record.offset + 1
                if record.offset < end:
                    records.append(record)
        return Range(records, n_lost)
    finally:
        await consumer.stop()
