"""Taking the records of a partition: in slices, each record once, the poisonous one found and left out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from aiokafka.errors import KafkaError

from schemas.records import Record
from streams import tracing
from streams.engine.held import Held
from streams.engine.outbox import Outbox, Output
from streams.engine.pointer import Pointer
from streams.engine.positions import read_range
from streams.settings import Settings

log = logging.getLogger(__name__)

READY_TIMEOUT_S = 60.0
ASK_AGAIN_S = 0.1


class Owner(Protocol):
    """The agent whose records are taken: its names, and what only it can do."""

    name: str
    topic: str

    async def checkpoint(self, *, at_once: bool = False) -> None: ...
    async def commit(self, partition: int, offset: int, pointer: Pointer) -> None: ...
    async def first_offset(self, partition: int) -> int: ...
    def owns(self, partition: int, held: Held) -> bool: ...
    def lost(self, partition: int, n_records: int, why: str) -> None: ...
    def leave(self, reason: str) -> None: ...


class Intake:
    """Brings records into the stages of an agent.

    Parameters
    ----------
    lock
        Held by whoever touches a stage.
    poisonous
        Turns a record that failed its third attempt into outputs (a dead letter).
    """

    def __init__(
        self,
        owner: Owner,
        settings: Settings,
        outbox: Outbox,
        lock: asyncio.Lock,
        poisonous: Callable[[Record, str], Sequence[Output]],
    ) -> None:
        self._owner, self._settings, self._outbox, self._lock = owner, settings, outbox, lock
        self._poisonous = poisonous

    async def take(self, partition: int, held: Held, records: Sequence[Record]) -> None:
        """Process records a slice at a time, as the stage admits them; the loop runs in between."""
        with tracing.records_span("take", self._owner.name, records):
            await self._take(partition, held, records)

    async def _take(self, partition: int, held: Held, records: Sequence[Record]) -> None:
        start, asking_since = 0, None
        while start < len(records):
            part = records[start : start + held.pace.n_records(records[start])]
            n_taken = await self._slice(partition, held, part)
            if n_taken is None:
                return
            start += n_taken
            if held.must_save:
                await self._owner.checkpoint(at_once=True)
            if n_taken:
                asking_since = None
                await asyncio.sleep(0)
            else:
                asking_since = asking_since or time.monotonic()
                if time.monotonic() - asking_since > READY_TIMEOUT_S:
                    self._owner.leave(self._in_vain(part[0]))
                await asyncio.sleep(ASK_AGAIN_S)
            await self._outbox.room()

    def _in_vain(self, record: Record) -> str:
        return (
            f"{self._owner.name} has waited {READY_TIMEOUT_S:.0f} s for a baseline or monitor that {record.topic}/"
            f"{record.partition}@{record.offset} (key {record.key!r}) names and the control topics have not brought"
        )

    async def _slice(self, partition: int, held: Held, records: Sequence[Record]) -> int | None:
        """Process a slice; return how many of its records are done, None when the partition is no longer ours."""
        async with self._lock:
            if not self._owner.owns(partition, held):
                return None
            fresh = [record for record in records if record.offset >= held.position]
            n_skipped, n_ready, n_taken = len(records) - len(fresh), 0, 0
            try:
                if fresh:
                    await self._check_gap(partition, held, fresh[0].offset)
                    n_ready = held.stage.ready(fresh)
                if n_ready:
                    n_taken = await self._taken(partition, held, fresh[:n_ready])
            except Exception as error:  # whatever it is, the state can no longer be trusted
                where = f"{self._owner.topic}/{partition} after {held.committed}"
                log.exception("%s: %s", self._owner.name, where, extra=self._place(partition, held.position))
                self._owner.leave(f"{self._owner.name} failed on {where}: {type(error).__name__}: {error}")
            return n_skipped + n_taken

    def _place(self, partition: int, offset: int) -> dict[str, str | int]:
        return {"agent": self._owner.name, "topic": self._owner.topic, "partition": partition, "offset": offset}

    async def _check_gap(self, partition: int, held: Held, offset: int) -> None:
        """Report records that the broker deleted before they were read.

        Offsets are also left out where a producer's transaction ended, so the log's start decides.
        """
        if offset > held.position:
            first = await self._owner.first_offset(partition)
            if first > held.position:
                n_records = first - held.position
                self._owner.lost(partition, n_records, f"the log begins at {first}, the position was {held.position}")
                held.close_cut()
                held.stage.lost(n_records)
                held.move(first)

    async def _taken(self, partition: int, held: Held, records: Sequence[Record]) -> int:
        """Apply records up to one that has failed twice, which is left out; return how many are done.

        What follows it waits for a checkpoint: were it to fail as well, the first would be found anew.
        """
        n_done = 0
        for part in held.parts(records):
            n_done += len(part)
            if held.is_culprit(part):
                self._skip(held, part[0])
                break
            await self._apply(partition, held, part)
        return n_done

    def _skip(self, held: Held, record: Record) -> None:
        where = f"{record.topic}/{record.partition}@{record.offset}"
        place = self._place(record.partition, record.offset)
        log.error("%s: %s failed twice; it becomes a dead letter", self._owner.name, where, extra=place)
        self._outbox.put(self._poisonous(record, f"{self._owner.name} failed on it twice; the reasons are in its log"))
        held.move(record.offset + 1)
        held.must_save = True

    async def _apply(self, partition: int, held: Held, records: Sequence[Record]) -> None:
        started = time.perf_counter()
        try:
            with tracing.span("update", offset=held.position, records=len(records)):
                outputs = held.stage.update(records)
        except Exception:
            await self._failed(partition, held, records)
            raise
        held.move(records[-1].offset + 1)
        self._outbox.put(outputs)
        held.pace.spent(len(records), time.perf_counter() - started)
        await self.read_again(partition, held)

    async def _failed(self, partition: int, held: Held, records: Sequence[Record]) -> None:
        """Count the attempt beside the last good checkpoint; only what raises in `update` is counted."""
        pointer = held.failed(records)
        if pointer is None:
            return
        try:
            await self._owner.commit(partition, held.committed, pointer)
        except (KafkaError, TimeoutError) as error:
            log.warning("%s: the failure could not be counted: %s", self._owner.name, error)

    async def read_again(self, partition: int, held: Held) -> None:
        """Give the stage the earlier records it asks for; the lock is held."""
        for reading in held.stage.readings():
            again = await read_range(self._settings, self._owner.topic, partition, reading.start, reading.end)
            if again.n_lost:
                why = f"records of {reading.name} were deleted before they were read again"
                self._owner.lost(partition, again.n_lost, why)
            held.close_cut()
            self._outbox.put(held.stage.read(reading, again.records))
