"""The one mechanism of every stateful agent: position, state, snapshot, pointer.

The order that makes it exact, and where each step happens:

1. records below the position are skipped, the others change the state, the position follows;
   no await in between (`_apply`);
2. a checkpoint encodes state and position together, waits for the outputs, then for the snapshot,
   then commits position and pointer as one (`checkpoint`);
3. on assignment the pointer is read back and exactly that snapshot restored (`restore`);
4. anything unexpected leaves without committing; the supervisor restarts the process. A record that
   makes the stage raise is found at the second attempt and becomes a dead letter at the third
   (`_taken`, `_failed`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import faust
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError

from schemas.records import Record
from streams.engine import private
from streams.engine.checkpoint import Pointer, SnapshotError, Snapshots
from streams.engine.connection import reader
from streams.engine.outbox import Outbox, Output
from streams.engine.positions import bounds, read_range
from streams.engine.stage import Stage
from streams.settings import Settings

log = logging.getLogger(__name__)

SKIP_ATTEMPT = 2
READY_TIMEOUT_S = 60.0
ASK_AGAIN_S = 0.1


class AgentMetrics(Protocol):
    """What an agent reports about itself."""

    def checkpoint(self, seconds: float, size_bytes: int) -> None: ...
    def state_lost(self, agent: str, n_records: int) -> None: ...


class Held:
    """A partition this worker owns: its state, its position, the pointer of its last snapshot."""

    def __init__(self, stage: Stage, position: int, pointer: Pointer | None) -> None:
        self.stage = stage
        self.position = position
        self.begun = True
        self.pointer = pointer
        self.committed = position
        self.attempts = pointer.attempts if pointer else 0
        self.suspect = pointer.suspect if pointer else 0


class StatefulAgent:
    """Runs one stage per partition of one input topic.

    Parameters
    ----------
    make_stage
        Builds the empty state of a partition from its number and the end of its log.
    poisonous
        Turns a record that failed its third attempt into outputs (a dead letter).
    leave
        Ends the process with a reason; does not return.
    """

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        outbox: Outbox,
        *,
        name: str,
        topic: str,
        snapshot_topic: str,
        make_stage: Callable[[int, int], Stage],
        poisonous: Callable[[Record, str], Sequence[Output]],
        metrics: AgentMetrics,
        leave: Callable[[str], None],
    ) -> None:
        self.app, self.name, self.topic = app, name, topic
        self.held: dict[int, Held] = {}
        self._settings, self._outbox = settings, outbox
        self._make_stage, self._poisonous, self._metrics, self._leave = make_stage, poisonous, metrics, leave
        self._snapshots = Snapshots(settings, outbox, name, snapshot_topic)
        self._lock = asyncio.Lock()

    async def take(self, records: Sequence[Record]) -> None:
        """Process the records of one partition; called by the Faust agent."""
        asking_since = None
        while left := await self._take_ready(records):
            if asking_since is None or len(left) < len(records):
                asking_since = time.monotonic()
            if time.monotonic() - asking_since > READY_TIMEOUT_S:
                first = left[0]
                self._leave(
                    f"{self.name} has waited {READY_TIMEOUT_S:.0f} s for a baseline or monitor that "
                    f"{self.topic}/{first.partition}@{first.offset} (key {first.key!r}) names and the control "
                    "topics have not brought; are their records kept?"
                )
                return
            records = left
            await asyncio.sleep(ASK_AGAIN_S)
        await self._outbox.room()

    async def _take_ready(self, records: Sequence[Record]) -> Sequence[Record]:
        """Process what the stage admits; return what has to wait for the control topics."""
        partition = records[0].partition
        async with self._lock:
            held = self.held.get(partition)
            if held is None:
                return ()
            if records[0].offset < held.position:
                records = [record for record in records if record.offset >= held.position]
            if not records:
                return ()
            try:
                await self._check_gap(partition, held, records[0].offset)
                n_ready = held.stage.ready(records)
                if n_ready:
                    await self._taken(held, records[:n_ready])
            except Exception as error:  # whatever it is, the state can no longer be trusted
                log.exception("%s: %s/%s after %s", self.name, self.topic, partition, held.committed)
                where = f"{self.topic}/{partition} after {held.committed}"
                self._leave(f"{self.name} failed on {where}: {type(error).__name__}: {error}")
            return records[n_ready:]

    async def _taken(self, held: Held, records: Sequence[Record]) -> None:
        """Apply records; after a failure one by one, after a second without the culprit."""
        if held.attempts == 1:
            for record in records:
                await self._apply(held, [record])
        elif held.attempts >= SKIP_ATTEMPT:
            before = [record for record in records if record.offset < held.suspect]
            if before:
                await self._apply(held, before)
            if len(before) < len(records):
                after = records[len(before) :]
                if after[0].offset == held.suspect:
                    await self._skip(held, after[0])
                    after = after[1:]
                held.attempts = 0
                if after:
                    await self._apply(held, after)
        else:
            await self._apply(held, records)
        if held.position >= held.suspect:
            held.attempts = 0

    async def _skip(self, held: Held, record: Record) -> None:
        where = f"{self.topic}/{record.partition}@{record.offset}"
        log.error("%s: %s failed twice; it becomes a dead letter", self.name, where)
        self._outbox.put(self._poisonous(record, f"{self.name} failed on it twice; the reasons are in its log"))
        held.position, held.attempts = record.offset + 1, 0
        await self._checkpoint(record.partition, held)

    async def _apply(self, held: Held, records: Sequence[Record]) -> None:
        try:
            outputs = held.stage.update(records)
        except Exception:
            await self._failed(held, records)
            raise
        held.begun = True
        held.position = records[-1].offset + 1
        self._outbox.put(outputs)
        await self._read_again(records[0].partition, held)

    async def _read_again(self, partition: int, held: Held) -> None:
        for reading in held.stage.readings():
            again = await read_range(self._settings, self.topic, partition, reading.start, reading.end)
            if again.n_lost:
                why = f"records of {reading.name} were deleted before they were read again"
                self._lost(partition, again.n_lost, why)
            self._outbox.put(held.stage.read(reading, again.records))

    async def _failed(self, held: Held, records: Sequence[Record]) -> None:
        """Count the attempt beside the last good checkpoint; only what raises in `update` is counted."""
        if held.pointer is None:
            return
        if held.attempts == 1 and len(records) == 1:
            attempts, suspect = SKIP_ATTEMPT, records[0].offset
        else:
            attempts, suspect = 1, records[-1].offset + 1
        again = held.pointer._replace(attempts=attempts, suspect=suspect)
        try:
            await private.commit(self.app, self.topic, records[0].partition, held.committed, again.encode())
        except KafkaError as error:
            log.warning("%s: the failure could not be counted: %s", self.name, error)

    async def _check_gap(self, partition: int, held: Held, offset: int) -> None:
        """Report records that the broker deleted before they were read.

        Offsets are also left out where a producer's transaction ended, so the log's start decides.
        """
        if offset > held.position:
            first = await private.first_offset(self.app, self.topic, partition)
            if first > held.position:
                why = f"the log begins at {first}, the position was {held.position}"
                self._lost(partition, first - held.position, why)
                held.stage.lost(first - held.position)
                held.position = first

    async def flush(self) -> None:
        """Send what is worth showing now."""
        async with self._lock:
            now_ms = int(time.time() * 1000)
            if not self._begun():
                return
            for partition, held in self.held.items():
                await self._read_again(partition, held)
                caught_up = self._remaining(partition, held) == 0
                self._outbox.put(list(held.stage.flush(now_ms, caught_up=caught_up)))

    def _begun(self) -> bool:
        """Tell whether every partition with a backlog has had its first turn.

        Before that nothing is told to the judge: it would not know yet which sources to wait for.
        """
        return all(held.begun or self._remaining(partition, held) == 0 for partition, held in self.held.items())

    async def checkpoint(self, *, at_once: bool = False) -> None:
        """Checkpoint every partition that has moved."""
        async with self._lock:
            if not (at_once or self._begun()):
                return
            try:
                for partition, held in list(self.held.items()):
                    if held.position != held.committed or held.pointer is None:
                        await self._checkpoint(partition, held)
            except CommitFailedError as error:
                # Only while members come and go is it certain that partitions are given out anew, to be restored
                # from what is committed. Going on is not possible: the checkpoint may have decided something.
                if at_once or not isinstance(error.__cause__, RebalanceInProgressError):
                    raise
                log.warning("%s: the group is rebalancing; state dropped until it has", self.name)
                self._drop()

    async def _checkpoint(self, partition: int, held: Held) -> None:
        started = time.perf_counter()
        position = held.position
        held.stage.before_checkpoint()
        # 2. what is counted and not yet told leaves first: the snapshot holds none of it
        self._outbox.put(list(held.stage.flush(int(time.time() * 1000), caught_up=False)))
        # 2a. state is encoded here, synchronously; 2b. outputs and snapshot are durable after it
        pointer = await self._snapshots.write(partition, position, held.stage)
        if held.attempts:
            pointer = pointer._replace(attempts=held.attempts, suspect=held.suspect)
        # 2c. position and pointer become valid as one
        await private.commit(self.app, self.topic, partition, position, pointer.encode())
        held.committed, held.pointer = position, pointer
        self._snapshots.trim(partition)
        self._metrics.checkpoint(time.perf_counter() - started, self._snapshots.n_bytes)

    async def release(self) -> None:
        """Checkpoint and drop everything: the partitions go to somebody else."""
        try:
            await self.checkpoint(at_once=True)
        except KafkaError as error:  # fenced: another worker owns them, ours is worth nothing
            log.warning("%s: fenced, state dropped: %s", self.name, error)
        async with self._lock:
            self._drop()

    def _drop(self) -> None:
        for partition in self.held:
            self._snapshots.forget(partition)
        self.held.clear()

    async def restore(self, partitions: Iterable[int]) -> None:
        """Take over partitions: read the committed pointers and exactly those snapshots."""
        wanted = sorted(set(partitions) - self.held.keys())
        if not wanted:
            return
        async with self._lock:
            commits = await private.committed(self.app, self.topic, wanted)
            consumer = reader(self._settings)
            await consumer.start()
            try:
                for partition in wanted:
                    first, end = await bounds(consumer, TopicPartition(self.topic, partition))
                    held = self.held[partition] = await self._restored(partition, commits.get(partition), first, end)
                    held.begun = held.position >= end
            finally:
                await consumer.stop()

    async def _restored(self, partition: int, commit: private.Committed | None, first: int, end: int) -> Held:
        stage = self._make_stage(partition, end if commit else first)
        pointer = Pointer.decode(commit.metadata) if commit else None
        if pointer is None:
            pointer = await self._snapshots.newest(partition)
            if pointer is None:
                if commit and commit.offset > first:
                    self._lost(partition, commit.offset, "a committed position without a snapshot")
                    stage.lost(commit.offset)
                return await self._begin(partition, Held(stage, first, None))
            log.warning("%s/%s: no pointer was committed; the newest snapshot is used", self.name, partition)
            stage = self._make_stage(partition, end)
        try:
            position = await self._snapshots.read(partition, pointer, stage)
        except SnapshotError as error:
            self._lost(partition, commit.offset if commit else 0, str(error))
            stage = self._make_stage(partition, end)
            stage.lost(commit.offset if commit else 0)
            return await self._begin(partition, Held(stage, first, None))
        held = Held(stage, position, pointer)
        if not first <= position <= end:
            self._lost(partition, abs(first - position), f"position {position} is outside the log {first}..{end}")
            stage.lost(abs(first - position))
            held.position = first
        if commit is None or held.position != commit.offset:
            return await self._begin(partition, held)
        return held

    async def _begin(self, partition: int, held: Held) -> Held:
        """Commit where reading starts: Faust seeks to what is committed."""
        await self._checkpoint(partition, held)
        return held

    def _lost(self, partition: int, n_records: int, why: str) -> None:
        log.error("state_lost: %s %s/%s: %s (%d records)", self.name, self.topic, partition, why, n_records)
        self._metrics.state_lost(self.name, n_records)

    def _remaining(self, partition: int, held: Held) -> int | None:
        return private.remaining(self.app, self.topic, partition, held.position)

    def lags(self) -> dict[int, int]:
        """Return how many records each partition still has to be read."""
        return {partition: self._remaining(partition, held) or 0 for partition, held in self.held.items()}

    def positions(self) -> dict[tuple[str, int], Any]:
        """Return the position of every partition held."""
        return {(self.topic, partition): held.position for partition, held in self.held.items()}
