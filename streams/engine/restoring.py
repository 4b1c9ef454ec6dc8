"""Taking over a partition: exactly the state that was committed, else the next best, loudly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streams.engine.checkpoint import Snapshots
from streams.engine.connection import librdkafka
from streams.engine.held import Held
from streams.engine.pointer import Index, Pointer, SnapshotError
from streams.engine.private import Committed
from streams.engine.stage import Stage
from streams.settings import Settings

log = logging.getLogger(__name__)

MAX_OLDER = 10
TOPIC_ID_TIMEOUT_S = 5.0
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"


async def topic_id(settings: Settings, topic: str) -> str:
    """Return what tells a topic from a later one of the same name; empty where brokers have no such thing."""
    if settings.embedded:
        return ""

    def ask() -> str:
        client = AdminClient(librdkafka(settings) | {"log_level": 0})
        try:
            [future] = client.describe_topics(TopicCollection([topic]), request_timeout=TOPIC_ID_TIMEOUT_S).values()
            found: Any = future.result(2 * TOPIC_ID_TIMEOUT_S)
        except (KafkaException, TimeoutError) as error:
            log.warning("%s: its id is not known, so another topic of its name would not be noticed: %s", topic, error)
            return ""
        text = str(found.topic_id or "")
        return "" if text == NO_ID else text

    return await asyncio.to_thread(ask)


class Restoring:
    """Finds the state of a partition: what is committed, an older snapshot, or built again from the log.

    Parameters
    ----------
    make_stage
        Builds the empty state of a partition from its number and the end of its log, below which an earlier
        worker may have acted.
    lost
        Told, with a reason, how many records of a partition are lost to its state.
    """

    def __init__(
        self,
        where: str,
        snapshots: Snapshots,
        make_stage: Callable[[int, int], Stage],
        lost: Callable[[int, int, str], None],
    ) -> None:
        self._where, self._snapshots, self._make_stage, self._lost = where, snapshots, make_stage, lost

    async def held(self, partition: int, commit: Committed | None, first: int, end: int) -> Held:
        """Return the partition with its state; one that is not what is committed has to be committed anew.

        `first` and `end` are the log's first offset and the one after its last.
        """
        pointer = Pointer.decode(commit.metadata) if commit else None
        older: list[Pointer] = []
        if pointer is None or (held := await self._restored(partition, pointer, first, end)) is None:
            older = [
                one for one in await self._snapshots.indexes(partition) if pointer is None or one[:2] != pointer[:2]
            ]
            for one in older[:MAX_OLDER]:
                if (held := await self._restored(partition, one, first, end)) is not None:
                    log.warning(
                        "%s/%s: the snapshot at %d is used, not the one committed", self._where, partition, one.offset
                    )
                    return held
        else:
            return held
        if commit is None and not older:
            return Held(self._make_stage(partition, first), first, None)
        return self._rebuilt(partition, pointer, first)

    async def _restored(self, partition: int, pointer: Pointer, first: int, end: int) -> Held | None:
        stage = self._make_stage(partition, end)
        try:
            index = await self._snapshots.read(partition, pointer, stage)
        except SnapshotError as error:
            log.error("%s/%s: a snapshot cannot be used: %s", self._where, partition, error)
            return None
        return self._placed(partition, pointer, index, stage, first, end)

    def _placed(self, partition: int, pointer: Pointer, index: Index, stage: Stage, first: int, end: int) -> Held:
        """Return the state at its place in the log, which may have lost records on either side of it."""
        position, known = index.position, self._snapshots.topic_id
        if index.topic_id and known and index.topic_id != known:
            self._snapshots.forget(partition)
            self._lost(
                partition, position, "the topic was deleted and made again; its state belonged to the former one"
            )
            return self._fresh(partition, first, position)
        held = Held(stage, position, pointer)
        if position < first:
            self._lose(held, partition, first, f"position {position} lies before the log's first, {first}")
        elif position > end and known:
            self._lose(held, partition, end, f"position {position} lies after the log's end, {end}: it was cut off")
        elif position > end:
            self._snapshots.forget(partition)
            self._lost(partition, position, f"position {position} lies after the log's end, {end}: it is another log")
            return self._fresh(partition, first, position)
        return held

    def _lose(self, held: Held, partition: int, position: int, why: str) -> None:
        n_records = abs(position - held.position)
        self._lost(partition, n_records, why)
        held.stage.lost(n_records)
        held.position = position

    def _rebuilt(self, partition: int, pointer: Pointer | None, first: int) -> Held:
        """Return an empty state that reads again all that matters to it, as far as the log has it.

        Its log ends where it begins: what is read again is counted here and sent to nobody a second time.
        """
        lowest = pointer.lowest if pointer else 0
        if first > lowest:
            self._lost(partition, first - lowest, f"no snapshot can be used and the log begins at {first}")
            return self._fresh(partition, first, first - lowest)
        log.error("%s/%s: no snapshot can be used; the state is built again from %d", self._where, partition, lowest)
        return Held(self._make_stage(partition, lowest), lowest, None)

    def _fresh(self, partition: int, first: int, n_lost: int) -> Held:
        stage = self._make_stage(partition, first)
        stage.lost(n_lost)
        return Held(stage, first, None)
