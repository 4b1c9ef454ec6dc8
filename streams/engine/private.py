"""The private names of Faust and aiokafka that the engine needs, all of them, in one place.

`tests/engine/test_private_names.py` fails when an upgrade moves one. Measured reasons for each:
Faust's own fetch loop stalls for 1 to 1.5 s when buffers are small, it never checks for
coordinator errors, and it tracks acknowledgements in a way that loses records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import faust
from aiokafka.errors import CommitFailedError, RebalanceInProgressError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver

FETCH_WAIT_MS = 100
COMMIT_TIMEOUT_S = 4.0


class Committed(NamedTuple):
    """What a group has committed for a partition."""

    offset: int
    metadata: str


class StallFreeConsumer(driver.Consumer):
    """Faust's consumer without its three stalls."""

    async def sleep(self, n: Any, **options: Any) -> None:
        """Sleep 20 ms where Faust sleeps a second because every partition is buffered."""
        await super().sleep(0.02 if n == 1 else n, **options)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        """Do not wait a second on idle partitions while others are only buffered."""
        return await super()._getmany(active_partitions, 0.02 if self._buffered_partitions else timeout)

    async def seek_to_committed(self) -> Any:
        """Seek to what is committed, to the beginning as well: aiokafka leaves out partitions committed at 0.

        What was fetched of them while states were being restored is handed to nobody, and would be lost.
        """
        committed = await super().seek_to_committed()
        for place, offset in committed.items():
            if offset == 0:
                await self._seek(place, 0)
        return committed


class CrashOnlyApp(faust.App):
    """A Faust app that leaves at the first crash of any of its parts instead of stopping in order."""

    def leave_crashed(self, reason: BaseException) -> None:
        """End the process; what is committed is right, what is not is done again."""
        raise NotImplementedError

    def _crash(self, reason: BaseException) -> None:
        super()._crash(reason)
        self.leave_crashed(reason)


def install_consumer() -> None:
    """Make Faust build the stall-free consumer; call before an app starts."""
    driver.Transport.Consumer = StallFreeConsumer


def _thread(app: faust.App) -> Any:
    consumer: Any = app.consumer
    return consumer._thread


def shorten_fetch_wait(app: faust.App) -> None:
    """Let the broker answer a fetch after 100 ms; Faust has 1500 ms hard-coded."""
    _thread(app)._consumer._fetcher._fetch_max_wait_ms = FETCH_WAIT_MS


async def _on_consumer_thread(app: faust.App, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    return await _thread(app).call_thread(call, *args)


def generation(app: faust.App) -> int:
    """Return the number of the group's present distribution of partitions, -1 when we are no member."""
    return int(_thread(app)._consumer._coordinator.generation)


async def commit(
    app: faust.App, topic: str, partition: int, offset: int, metadata: str, generation: int | None = None
) -> None:
    """Commit one offset with metadata through the group's generation check.

    aiokafka commits in whatever generation it is in, and the broker does not ask who owns a partition, so
    `generation` is the one in which it was given to us; without one neither it nor the time is looked at.

    Raises
    ------
    aiokafka.errors.CommitFailedError
        When this worker no longer owns the partition: it is fenced.
    TimeoutError
        When the broker does not answer; whether it has committed is not known.
    """
    consumer = _thread(app)._consumer

    async def guarded() -> None:
        if generation is not None and consumer._coordinator.generation != generation:
            raise CommitFailedError("the partitions were given out anew") from RebalanceInProgressError()
        async with asyncio.timeout(None if generation is None else COMMIT_TIMEOUT_S):
            await consumer.commit({TopicPartition(topic, partition): OffsetAndMetadata(offset, metadata)})

    await _on_consumer_thread(app, guarded)


async def committed(app: faust.App, topic: str, partitions: Iterable[int]) -> dict[int, Committed]:
    """Read what the group has committed; partitions without a commit are left out."""
    wanted = [TopicPartition(topic, partition) for partition in partitions]
    coordinator = _thread(app)._consumer._coordinator
    found = await _on_consumer_thread(app, coordinator.fetch_committed_offsets, wanted)
    return {tp.partition: Committed(value.offset, value.metadata) for tp, value in found.items() if value.offset >= 0}


async def check_coordinator(app: faust.App) -> None:
    """Raise what the group coordinator has parked; aiokafka tells only who asks."""
    thread = _thread(app)
    if thread is None or thread._consumer is None:
        return

    async def check() -> None:
        thread._consumer._coordinator.check_errors()

    await thread.call_thread(check)


def remaining(app: faust.App, topic: str, partition: int, position: int) -> int | None:
    """Return how many records of a partition are still to come from `position` on, None while unknown.

    The last offsets of a log may be the marks that end transactions, which nobody hands over: when the
    consumer has read past them and everything it handed over was taken, nothing is left.
    """
    place, consumer = TopicPartition(topic, partition), _thread(app)._consumer
    end = None if consumer is None else consumer.highwater(place)
    if end is None:
        return None
    if position < end:
        state = consumer._subscription.subscription.assignment.state_value(place)
        if state is not None and state.has_valid_position and state.position >= end:
            scheduler: Any = app.consumer.scheduler
            handed_over = scheduler.newest.get((topic, partition), -1)
            return 0 if position > handed_over else int(end) - position
    return max(0, int(end) - position)


async def first_offset(app: faust.App, topic: str, partition: int) -> int:
    """Return the first offset a partition still holds."""
    place = TopicPartition(topic, partition)
    found = await _on_consumer_thread(app, _thread(app)._consumer.beginning_offsets, [place])
    return int(found[place])


async def refresh_metadata(consumer: Any, topics: Iterable[str]) -> None:
    """Make a group-less consumer learn the partitions of topics now; the public call returns what is cached."""
    for topic in topics:
        consumer._client.add_topic(topic)
    await consumer._client.force_metadata_update()
