"""A range of the topics that rows come in by, read without a group: live workers do not notice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka import TopicPartition

from schemas.records import Record
from streams.engine import private
from streams.engine.connection import reader
from streams.engine.positions import bounds
from streams.engine.preflight import PreflightError
from streams.settings import Settings

MAX_RECORDS = 5_000


async def records_between(
    settings: Settings, topics: Sequence[str], from_ms: int | None, to_ms: int | None
) -> AsyncIterator[list[list[Record]]]:
    """Yield rounds: the next records of each partition, Kafka timestamps in [from_ms, to_ms).

    A partition has its turn in every round until it has ended; the range ends at what was the end
    when reading began.

    Raises
    ------
    PreflightError
        When there is no such topic.
    """
    consumer = reader(settings)
    await consumer.start()
    try:
        await private.refresh_metadata(consumer, topics)
        tps = []
        for topic in topics:
            partitions = consumer.partitions_for_topic(topic)
            if not partitions:
                raise PreflightError(f"topic {topic} does not exist; `driftgauge topics check` shows which do")
            tps += [TopicPartition(topic, partition) for partition in sorted(partitions)]
        consumer.assign(tps)
        ranges = {tp: await _range(consumer, tp, from_ms, to_ms) for tp in tps}
        for tp, (start, _) in ranges.items():
            consumer.seek(tp, start)
        left = {tp for tp, (start, end) in ranges.items() if start < end}
        while left:
            turn = []
            for tp in sorted(left):
                end = ranges[tp][1]
                records = (await consumer.getmany(tp, timeout_ms=5_000, max_records=MAX_RECORDS)).get(tp, [])
                if wanted := [record for record in records if record.offset < end]:
                    turn.append(wanted)
                if (records and records[-1].offset + 1 >= end) or await consumer.position(tp) >= end:
                    left.discard(tp)  # what is left may be the marks that end transactions
            yield turn
    finally:
        await consumer.stop()


async def _range(consumer: Any, tp: TopicPartition, from_ms: int | None, to_ms: int | None) -> tuple[int, int]:
    first, end = await bounds(consumer, tp)
    return await _offset(consumer, tp, from_ms, first, end), await _offset(consumer, tp, to_ms, end, end)


async def _offset(consumer: Any, tp: TopicPartition, time_ms: int | None, default: int, end: int) -> int:
    if time_ms is None:
        return default
    found = (await consumer.offsets_for_times({tp: time_ms}))[tp]
    return end if found is None else int(found.offset)
