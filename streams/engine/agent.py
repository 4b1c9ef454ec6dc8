"""The one mechanism of every stateful agent: position, state, snapshot, pointer.

The order that makes it exact, and where each step happens:

1. records below the position are skipped, the others change the state, the position follows; no await in between
   (`Intake`). Long batches are taken in slices, and the event loop runs between them;
2. a checkpoint cuts the state at the position: what is counted and not yet told leaves, no record is taken
   meanwhile (`_cut`);
3. records are taken again while the cut is encoded, then the outputs are durable, then the snapshot, then position
   and pointer are committed as one (`_save`). Only after a decision (`Stage.before_checkpoint`) records wait;
4. on assignment the pointer is read back and exactly that snapshot restored (`restore`, `restoring`);
5. anything unexpected leaves without committing; the supervisor restarts the process. A record that makes the
   stage raise is found at the second attempt and becomes a dead letter at the third (`Held.parts`).

One lock (`_lock`) is held by whoever touches a stage, another (`_saving`) by the one checkpoint under way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, Protocol

import faust
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError

from schemas.records import Record
from streams import tracing
from streams.engine import private
from streams.engine.checkpoint import Cut, Snapshots
from streams.engine.connection import reader
from streams.engine.held import Held
from streams.engine.intake import Intake
from streams.engine.outbox import Outbox, Output
from streams.engine.pointer import Pointer
from streams.engine.positions import bounds
from streams.engine.restoring import Restoring, topic_id
from streams.engine.slices import Slices
from streams.engine.stage import Stage
from streams.settings import Settings

log = logging.getLogger(__name__)

RELEASE_TIMEOUT_S = 5.0


class AgentMetrics(Protocol):
    """What an agent reports about itself."""

    def checkpoint(self, seconds: float, size_bytes: int) -> None: ...
    def pause(self, cause: str, seconds: float) -> None: ...
    def state_lost(self, agent: str, n_records: int) -> None: ...


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
    gone
        Told which state this worker no longer has.
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
        gone: Callable[[Stage], None] = lambda _stage: None,
    ) -> None:
        self.app, self.name, self.topic = app, name, topic
        self.held: dict[int, Held] = {}
        self._settings, self._outbox = settings, outbox
        self._metrics, self.leave, self._gone = metrics, leave, gone
        self._snapshots = Snapshots(settings, outbox, name, snapshot_topic)
        self._restoring = Restoring(f"{name} {topic}", self._snapshots, make_stage, self.lost)
        self._lock, self._saving = asyncio.Lock(), asyncio.Lock()
        self._intake = Intake(self, settings, outbox, self._lock, poisonous)
        self._parked: dict[int, Held] = {}
        self._generation = -1
        self._releasing = False

    async def take(self, records: Sequence[Record]) -> None:
        """Process the records of one partition; called by the Faust agent."""
        partition = records[0].partition
        if (held := self.held.get(partition)) is not None:
            await self._intake.take(partition, held, records)

    def owns(self, partition: int, held: Held) -> bool:
        """Tell whether a partition, with this very state, is taking records."""
        return self.held.get(partition) is held and not self._releasing

    async def commit(self, partition: int, offset: int, pointer: Pointer) -> None:
        """Commit a position with its pointer, in the generation in which the partitions were given to us."""
        await private.commit(self.app, self.topic, partition, offset, pointer.encode(), self._generation)

    async def first_offset(self, partition: int) -> int:
        """Return the first offset a partition of the input still holds."""
        return await private.first_offset(self.app, self.topic, partition)

    async def flush(self) -> None:
        """Send what is worth showing now."""
        await self._outbox.room()
        if not self._begun():
            return
        for partition, held in list(self.held.items()):
            async with self._holding("flush"):
                if self.held.get(partition) is held and not (held.cut and held.cut.n_left):
                    with self._span("flush", partition, held):
                        await self._intake.read_again(partition, held)
                        await self._tell(held, caught_up=self._remaining(partition, held) == 0)

    async def _tell(self, held: Held, *, caught_up: bool) -> None:
        slices = Slices()
        for output in held.stage.flush(int(time.time() * 1000), caught_up=caught_up):
            self._outbox.put([output])
            await slices.turn()

    @asynccontextmanager
    async def _holding(self, cause: str) -> AsyncIterator[None]:
        """Hold the stages, and so the records."""
        async with self._lock:
            started = time.perf_counter()
            try:
                yield
            finally:
                self._metrics.pause(cause, time.perf_counter() - started)

    def _begun(self) -> bool:
        """Tell whether every partition with a backlog has had its first turn.

        Before that nothing is told to the judge: it would not know yet which sources to wait for.
        """
        return all(held.begun or self._remaining(partition, held) == 0 for partition, held in self.held.items())

    async def checkpoint(self, *, at_once: bool = False) -> None:
        """Checkpoint every partition that has moved."""
        async with self._saving:
            if not (at_once or self._begun()):
                return
            moved = [(partition, held) for partition, held in self.held.items() if held.moved]
            saved = await asyncio.gather(*(self._checkpoint(*one) for one in moved), return_exceptions=True)
        for error in filter(None, saved):
            # Only while members come and go is it certain that partitions are given out anew, to be restored
            # from what is committed. Going on is not possible: the checkpoint may have decided something.
            refused = isinstance(error, CommitFailedError) and isinstance(error.__cause__, RebalanceInProgressError)
            if at_once or not refused:
                raise error
            log.warning("%s: the group is rebalancing; state dropped until it has", self.name)
            self._drop()
            return

    def _span(self, name: str, partition: int, held: Held) -> AbstractContextManager[Any]:
        return tracing.span(name, agent=self.name, topic=self.topic, partition=partition, offset=held.position)

    async def _checkpoint(self, partition: int, held: Held) -> None:
        with self._span("checkpoint", partition, held):
            await self._checkpointed(partition, held)

    async def _checkpointed(self, partition: int, held: Held) -> None:
        async with self._holding("checkpoint"):
            if self.held.get(partition) is not held:
                return
            started = time.monotonic()
            with tracing.span("cut"):
                cut, decided = await self._cut(partition, held)
            if decided:
                await self._save(partition, held, cut, started)
                return
        while cut.n_left:
            async with self._lock:
                cut.encode_slice()
            await asyncio.sleep(0)
        await self._save(partition, held, cut, started)

    async def _cut(self, partition: int, held: Held) -> tuple[Cut, bool]:
        """Fix the state at its position; tell whether a decision was made that only a durable checkpoint may act on."""
        decided = held.stage.before_checkpoint()
        # what is counted and not yet told leaves first: the snapshot holds none of it
        await self._tell(held, caught_up=False)
        held.cut, held.must_save = self._snapshots.cut(partition, held.position, held.stage), False
        return held.cut, decided

    async def _save(self, partition: int, held: Held, cut: Cut, started: float) -> None:
        """Make the outputs durable, then the snapshot, then commit position and pointer as one."""
        attempts, suspect = held.attempts, held.suspect
        with tracing.span("durable", segments=len(cut.changes)):
            pointer = await self._snapshots.write(partition, cut)
        held.cut = None
        if attempts:
            pointer = pointer._replace(attempts=attempts, suspect=suspect)
        while self.held.get(partition) is held:
            try:
                with tracing.span("commit", offset=cut.position):
                    await self.commit(partition, cut.position, pointer)
            except TimeoutError:
                log.warning("%s %s/%s: the commit is not answered; trying again", self.name, self.topic, partition)
                continue
            held.save(cut.position, pointer, started)
            self._snapshots.trimmer.trim(partition)
            self._metrics.checkpoint(time.monotonic() - started, self._snapshots.n_bytes)
            return

    async def release(self) -> None:
        """Checkpoint and let go of everything: the partitions go to somebody else, or come back.

        What cannot be checkpointed in time is done again by whoever is next.
        """
        self._releasing = True
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await self.checkpoint(at_once=True)
                async with self._lock:
                    self._parked = {partition: held for partition, held in self.held.items() if not held.moved}
        except TimeoutError:
            log.warning("%s: no checkpoint within %.0f s; state dropped", self.name, RELEASE_TIMEOUT_S)
        except KafkaError as error:  # fenced: another worker owns them, ours is worth nothing
            log.warning("%s: fenced, state dropped: %s", self.name, error)
        self._drop()

    def _drop(self) -> None:
        for partition in self.held.keys() - self._parked.keys():
            self._forget(partition, self.held[partition])
        self.held.clear()

    def _forget(self, partition: int, held: Held) -> None:
        self._snapshots.forget(partition)
        self._gone(held.stage)

    async def restore(self, partitions: Iterable[int]) -> None:
        """Take over partitions: read the committed pointers and exactly those snapshots.

        A state let go of one generation ago is still right when its commit is the committed one: in the
        generation after ours, the one that gives it back, nobody else can have had the partition.
        """
        wanted = sorted(set(partitions) - self.held.keys())
        async with self._lock:
            parked, self._parked, self._releasing = self._parked, {}, False
            generation = private.generation(self.app)
            in_between, self._generation = generation - self._generation - 1, generation
            commits = await private.committed(self.app, self.topic, wanted) if wanted else {}
            for partition, held in parked.items():
                if partition in wanted and in_between == 0 and held.equals(commits.get(partition)):
                    self.held[partition] = held
                    log.info("%s: %s/%s stays, at %d", self.name, self.topic, partition, held.position)
                else:
                    self._forget(partition, held)
            if wanted := [partition for partition in wanted if partition not in self.held]:
                await self._restore(wanted, commits)

    async def _restore(self, partitions: Sequence[int], commits: dict[int, private.Committed]) -> None:
        self._snapshots.topic_id = await topic_id(self._settings, self.topic)
        consumer = reader(self._settings)
        await consumer.start()
        try:
            for partition in partitions:
                first, end = await bounds(consumer, TopicPartition(self.topic, partition))
                commit = commits.get(partition)
                with tracing.span("restore", agent=self.name, topic=self.topic, partition=partition):
                    held = self.held[partition] = await self._restoring.held(partition, commit, first, end)
                if not held.equals(commit):
                    # Faust seeks to what is committed, so where reading starts is committed
                    cut, _ = await self._cut(partition, held)
                    await self._save(partition, held, cut, time.monotonic())
                held.begun = held.position >= end
        finally:
            await consumer.stop()

    def lost(self, partition: int, n_records: int, why: str) -> None:
        """Say that records are lost to a partition's state."""
        place = {"agent": self.name, "topic": self.topic, "partition": partition}
        log.error("state_lost: %s %s/%s: %s (%d records)", *place.values(), why, n_records, extra=place)
        self._metrics.state_lost(self.name, n_records)

    def _remaining(self, partition: int, held: Held) -> int | None:
        return private.remaining(self.app, self.topic, partition, held.position)

    def lags(self) -> dict[int, int]:
        """Return how many records each partition still has to be read."""
        return {partition: self._remaining(partition, held) or 0 for partition, held in self.held.items()}

    def positions(self) -> dict[tuple[str, int], Any]:
        """Return the position of every partition held."""
        return {(self.topic, partition): held.position for partition, held in self.held.items()}
