"""Snapshots of state: segments in chunks, an index that names them, a pointer to the index.

Only changed segments are written again. The pointer stands in the metadata of the input's
committed offset, so that position and state are committed as one. A crash at any moment leaves
the former pointer valid.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import KafkaError

from schemas.codec import CorruptError, compress, crc, decompress
from streams.engine.connection import admin, reader
from streams.engine.outbox import Outbox, Output
from streams.engine.positions import bounds, poll
from streams.engine.stage import Stage
from streams.settings import Settings

log = logging.getLogger(__name__)

FORMAT = 1
CHUNK_BYTES = 900_000
REWRITE_AFTER_BYTES = 2_000_000
MAX_SEGMENT_BYTES = 1_000_000_000
INDEX_KEY = b"index"


class SnapshotError(Exception):
    """A snapshot that is named cannot be read back as it was written."""


class Pointer(NamedTuple):
    """Names a snapshot.

    `attempts` counts the failures of one record or batch since the snapshot was written. After the first, the
    culprit is among the records below `suspect`; after the second, it is the record at `suspect`.
    """

    offset: int
    checksum: int
    attempts: int = 0
    suspect: int = 0

    def encode(self) -> str:
        """Write the pointer; the semicolon ends it, so that a truncated one is seen."""
        return f"{FORMAT}:{self.offset}:{self.checksum:08x}:{self.attempts}:{self.suspect};"

    @classmethod
    def decode(cls, metadata: str) -> Pointer | None:
        """Read commit metadata; None when it is no pointer of this format.

        >>> Pointer.decode(Pointer(12, 0xBEEF, 1, 40).encode())
        Pointer(offset=12, checksum=48879, attempts=1, suspect=40)
        """
        parts = metadata.rstrip(";").split(":")
        if not metadata.endswith(";") or len(parts) != 5 or parts[0] != str(FORMAT):
            return None
        try:
            return cls(int(parts[1]), int(parts[2], 16), int(parts[3]), int(parts[4]))
        except ValueError:
            return None


class Written(msgspec.Struct, frozen=True, array_like=True):
    """Where one segment stands: the offsets of its chunks, its checksum, how much was written before it."""

    offsets: list[int]
    checksum: int
    written_bytes: int


class Index(msgspec.Struct, frozen=True):
    """A whole snapshot: the position it belongs to and where its segments stand."""

    format: int
    agent: str
    partition: int
    position: int
    written_bytes: int
    segments: dict[str, Written]

    @property
    def lowest(self) -> int | None:
        """The lowest offset the snapshot needs."""
        return min((offset for written in self.segments.values() for offset in written.offsets), default=None)


_decode_index = msgspec.msgpack.Decoder(Index).decode


class Snapshots:
    """Reads and writes the snapshots of one agent, one logical writer a partition."""

    def __init__(self, settings: Settings, outbox: Outbox, agent: str, topic: str) -> None:
        self._settings = settings
        self._outbox = outbox
        self._agent = agent
        self._topic = topic
        self._last: dict[int, Index] = {}
        self._changes: dict[int, Mapping[str, int]] = {}
        self._lowest: dict[int, deque[int]] = {}
        self._trimmed: dict[int, int] = {}
        self._trims = not settings.embedded
        self._trimming: asyncio.Task[None] | None = None
        self.n_bytes = 0

    async def write(self, partition: int, position: int, stage: Stage) -> Pointer:
        """Write what changed since the last snapshot and return the pointer to commit.

        The state is encoded before the first await, so it belongs to `position`.
        """
        last = self._last.get(partition)
        known = self._changes.get(partition, {})
        changes = dict(stage.segments())
        total = last.written_bytes if last else 0
        kept: dict[str, Written] = {}
        fresh: dict[str, bytes] = {}
        for name, change in changes.items():
            written = last.segments.get(name) if last else None
            if written and known.get(name) == change and total - written.written_bytes < REWRITE_AFTER_BYTES:
                kept[name] = written
            else:
                fresh[name] = compress(stage.encode(name))
        return await self._put(partition, position, changes, kept, fresh, total)

    async def _put(
        self,
        partition: int,
        position: int,
        changes: Mapping[str, int],
        segments: dict[str, Written],
        fresh: Mapping[str, bytes],
        total: int,
    ) -> Pointer:
        offsets: dict[str, list[int]] = {name: [] for name in fresh}
        for name, data in fresh.items():
            chunks = [
                Output(self._topic, partition, name.encode(), data[i : i + CHUNK_BYTES])
                for i in range(0, max(1, len(data)), CHUNK_BYTES)
            ]
            self._outbox.put(chunks, offsets[name].append)
        await self._outbox.drained()
        written_bytes = total + sum(map(len, fresh.values()))
        for name, data in fresh.items():
            segments[name] = Written(sorted(offsets[name]), crc(data), written_bytes)
        index = Index(FORMAT, self._agent, partition, position, written_bytes, segments)
        value = msgspec.msgpack.encode(index)
        offset = await self._outbox.send(Output(self._topic, partition, INDEX_KEY, value))
        self._last[partition], self._changes[partition] = index, changes
        lows = self._lowest.setdefault(partition, deque(maxlen=3))
        lows.append(offset if index.lowest is None else index.lowest)
        self.n_bytes = sum(map(len, fresh.values())) + len(value)
        return Pointer(offset, crc(value))

    def trimmable(self, partition: int) -> int | None:
        """Return the offset below which no one of the last three snapshots needs a record."""
        lows = self._lowest.get(partition, ())
        return min(lows) if len(lows) == 3 else None

    def trim(self, partition: int) -> None:
        """Begin to delete, after a commit, what none of the last three snapshots needs; the embedded broker cannot."""
        before = self.trimmable(partition)
        if self._trims and self.idle and before is not None and before > self._trimmed.get(partition, 0):
            self._trimming = asyncio.get_running_loop().create_task(self._delete(partition, before))

    @property
    def idle(self) -> bool:
        """Whether no records are being deleted now."""
        return self._trimming is None or self._trimming.done()

    async def _delete(self, partition: int, before: int) -> None:
        client = admin(self._settings)
        try:
            await client.start()
            await client.delete_records({TopicPartition(self._topic, partition): RecordsToDelete(before_offset=before)})
            self._trimmed[partition] = before
        except KafkaError as error:
            if not error.retriable:
                self._trims = False
                what = "old snapshots cannot be deleted and will pile up"
                log.warning("%s: %s: %s. Allow this user to delete records.", self._topic, what, error)
        finally:
            await client.close()

    def forget(self, partition: int) -> None:
        """Drop what is known of a partition that is no longer ours."""
        for known in (self._last, self._changes, self._lowest):
            known.pop(partition, None)

    async def read(self, partition: int, pointer: Pointer, stage: Stage) -> int:
        """Restore the state a pointer names and return its position.

        Raises
        ------
        SnapshotError
            When a record is missing, damaged or of another agent or format.
        """
        value = (await self._records(partition, [pointer.offset]))[pointer.offset]
        if crc(value) != pointer.checksum:
            raise SnapshotError(f"{self._topic}/{partition}@{pointer.offset}: the checksum differs")
        index = self._index(value, partition, pointer.offset)
        chunks = await self._records(partition, sorted({o for w in index.segments.values() for o in w.offsets}))
        segments = {}
        for name, written in index.segments.items():
            data = b"".join(chunks[offset] for offset in written.offsets)
            if crc(data) != written.checksum:
                raise SnapshotError(f"{self._topic}/{partition}: segment {name!r} is damaged")
            segments[name] = decompress(data, MAX_SEGMENT_BYTES)
        try:
            stage.restore(segments)
        except (msgspec.DecodeError, CorruptError, LookupError, ValueError) as error:
            where = f"{self._topic}/{partition}@{pointer.offset}"
            raise SnapshotError(f"{where}: it cannot be restored by this version: {error}") from error
        self._last[partition], self._changes[partition] = index, dict(stage.segments())
        return index.position

    def _index(self, value: bytes, partition: int, offset: int) -> Index:
        try:
            index = _decode_index(value)
        except msgspec.DecodeError as error:
            raise SnapshotError(f"{self._topic}/{partition}@{offset}: {error}") from None
        if (index.format, index.agent, index.partition) != (FORMAT, self._agent, partition):
            what = f"of {index.agent}/{index.partition}, format {index.format}"
            raise SnapshotError(f"{self._topic}/{partition}@{offset}: {what}")
        return index

    async def newest(self, partition: int) -> Pointer | None:
        """Return the pointer of the newest index in the log, None when there is none."""
        consumer = reader(self._settings)
        await consumer.start()
        try:
            tp = TopicPartition(self._topic, partition)
            consumer.assign([tp])
            start, end = await bounds(consumer, tp)
            found = None
            consumer.seek(tp, start)
            while start < end:
                for record in await poll(consumer, tp):
                    start = record.offset + 1
                    if record.key == INDEX_KEY:
                        found = Pointer(record.offset, crc(record.value))
            return found
        finally:
            await consumer.stop()

    async def _records(self, partition: int, offsets: Sequence[int]) -> dict[int, bytes]:
        """Read exactly these offsets; a missing one is an error, never a jump."""
        wanted = set(offsets)
        found: dict[int, bytes] = {}
        if not wanted:
            return found
        consumer = reader(self._settings)
        await consumer.start()
        try:
            tp = TopicPartition(self._topic, partition)
            consumer.assign([tp])
            start, end = await bounds(consumer, tp)
            if min(wanted) < start or max(wanted) >= end:
                where = f"{min(wanted)}..{max(wanted)} is outside the log {start}..{end}"
                raise SnapshotError(f"{self._topic}/{partition}: {where}")
            position = min(wanted)
            consumer.seek(tp, position)
            while position <= max(wanted):
                for record in await poll(consumer, tp):
                    position = record.offset + 1
                    if record.offset in wanted:
                        found[record.offset] = record.value or b""
        finally:
            await consumer.stop()
        if missing := wanted - found.keys():
            raise SnapshotError(f"{self._topic}/{partition}: offsets {sorted(missing)[:5]} are missing")
        return found
