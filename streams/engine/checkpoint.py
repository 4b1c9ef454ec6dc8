"""Snapshots of state: a cut at one position, segments in chunks, a directory of them, an index, a pointer.

Only changed segments are written again. The pointer stands in the metadata of the input's
committed offset, so that position and state are committed as one. A crash at any moment leaves
the former pointer valid.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from schemas.codec import CorruptError, compress, crc, decompress
from streams.engine.outbox import Outbox, Output
from streams.engine.pointer import (
    FORMAT,
    Directory,
    Index,
    Pointer,
    SnapshotError,
    Written,
    decode_directory,
    decode_index,
)
from streams.engine.positions import keyed, read_offsets
from streams.engine.slices import SLICE_S, Slices
from streams.engine.stage import Stage, unwatched
from streams.engine.trimming import Trimmer
from streams.settings import Settings

CHUNK_BYTES = 900_000
REWRITE_AFTER_BYTES = 2_000_000
REWRITE_AFTER_SIZES = 3
MAX_SEGMENT_BYTES = 1_000_000_000
INDEX_KEY = b"index"
DIRECTORY_KEY = b"directory"
SEGMENT_KEY = b"segment/"


class Cut:
    """The state of a stage at one position, encoded piece by piece while it goes on.

    A segment is encoded when its turn comes, or before it changes: `Stage.update` calls `before_change`.
    """

    def __init__(self, stage: Stage, position: int, changes: Mapping[str, int], kept: Directory) -> None:
        self.position, self.changes, self.kept = position, changes, kept
        self.lowest = stage.lowest_offset()
        self.encoded: dict[str, bytes] = {}
        self._stage = stage
        self._left = dict.fromkeys(name for name in changes if name not in kept)
        stage.before_change = self._encode

    def _encode(self, name: str) -> None:
        if name in self._left:
            del self._left[name]
            self.encoded[name] = self._stage.encode(name)

    @property
    def n_left(self) -> int:
        """How many segments have still to be encoded."""
        return len(self._left)

    def encode_slice(self) -> None:
        """Encode what is left for one slice of time.

        Raises
        ------
        RuntimeError
            When a segment has changed unannounced: a defect of the stage.
        """
        until, now = time.perf_counter() + SLICE_S / 2, self._stage.segments()
        for name in list(self._left):
            if now.get(name) != self.changes[name]:
                raise RuntimeError(f"segment {name!r} has changed and `before_change` was not called")
            self._encode(name)
            if time.perf_counter() > until:
                return

    def close(self) -> None:
        """Encode what is left at once and watch the stage no longer."""
        while self._left:
            self.encode_slice()
        self._stage.before_change = unwatched


class _Last(NamedTuple):
    """The last snapshot of a partition: where its segments stand and what they were."""

    segments: Directory
    changes: Mapping[str, int]
    written_bytes: int


class Snapshots:
    """Reads and writes the snapshots of one agent, one logical writer a partition."""

    def __init__(self, settings: Settings, outbox: Outbox, agent: str, topic: str) -> None:
        self._settings, self._outbox, self._agent, self._topic = settings, outbox, agent, topic
        self._last: dict[int, _Last] = {}
        self._newest: dict[int, Cut] = {}
        self.trimmer = Trimmer(settings, topic)
        self.topic_id = ""
        self.n_bytes = 0

    def cut(self, partition: int, position: int, stage: Stage) -> Cut:
        """Begin a snapshot of the state as it is now."""
        last = self._last.get(partition) or _Last({}, {}, 0)
        live_bytes = sum(written.n_bytes for written in last.segments.values())
        oldest = last.written_bytes - max(REWRITE_AFTER_BYTES, REWRITE_AFTER_SIZES * live_bytes)
        changes = dict(stage.segments())
        kept = {
            name: written
            for name, written in last.segments.items()
            if name in changes and changes[name] == last.changes[name] and written.written_bytes > oldest
        }
        cut = self._newest[partition] = Cut(stage, position, changes, kept)
        return cut

    async def write(self, partition: int, cut: Cut) -> Pointer:
        """Make a cut durable, after the outputs that led to it, and return the pointer to commit."""
        slices = Slices()
        while cut.n_left:
            cut.encode_slice()
            await slices.turn()
        cut.close()
        await self._outbox.drained()
        return await self._put(partition, cut)

    async def _put(self, partition: int, cut: Cut) -> Pointer:
        last = self._last.get(partition)
        written_bytes = start_bytes = last.written_bytes if last else 0
        slices = Slices()
        offsets: dict[str, list[int]] = {}
        sums: dict[str, tuple[int, int]] = {}
        for name, plain in cut.encoded.items():
            data = compress(plain)
            offsets[name] = self._put_chunks(partition, SEGMENT_KEY + name.encode(), data)
            written_bytes += len(data)
            sums[name] = crc(data), len(data)
            await slices.turn()
        await self._outbox.drained()
        segments = dict(cut.kept)
        for name, (checksum, n_bytes) in sums.items():
            segments[name] = Written(sorted(offsets[name]), checksum, written_bytes, n_bytes)
        data = compress(msgspec.msgpack.encode(segments))
        where = self._put_chunks(partition, DIRECTORY_KEY, data)
        await self._outbox.drained()
        written_bytes += len(data)
        directory = Written(sorted(where), crc(data), written_bytes, len(data))
        index = Index(
            FORMAT, self._agent, partition, cut.position, written_bytes, directory=directory, topic_id=self.topic_id
        )
        value = msgspec.msgpack.encode(index)
        offset = await self._outbox.send(Output(self._topic, partition, INDEX_KEY, value))
        if self._newest.get(partition) is cut:  # else the partition was let go of meanwhile
            self._last[partition] = _Last(segments, cut.changes, written_bytes)
            self.trimmer.add(partition, min(o for written in (directory, *segments.values()) for o in written.offsets))
        self.n_bytes = written_bytes - start_bytes + len(value)
        return Pointer(offset, crc(value), lowest=cut.lowest)

    def _put_chunks(self, partition: int, key: bytes, data: bytes) -> list[int]:
        """Send data in chunks; the list gets their offsets as they become durable."""
        offsets: list[int] = []
        chunks = [
            Output(self._topic, partition, key, data[start : start + CHUNK_BYTES])
            for start in range(0, max(1, len(data)), CHUNK_BYTES)
        ]
        self._outbox.put(chunks, offsets.append)
        return offsets

    def forget(self, partition: int) -> None:
        """Drop what is known of a partition that is no longer ours."""
        self._last.pop(partition, None)
        self._newest.pop(partition, None)
        self.trimmer.forget(partition)

    async def read(self, partition: int, pointer: Pointer, stage: Stage) -> Index:
        """Restore the state a pointer names and return its index.

        Raises
        ------
        SnapshotError
            When a record is missing, damaged, or of another agent or format.
        """
        try:
            return await self._read(partition, pointer, stage)
        except SnapshotError as error:
            raise SnapshotError(f"{self._topic}/{partition}@{pointer.offset}: {error}") from error

    async def _read(self, partition: int, pointer: Pointer, stage: Stage) -> Index:
        value = (await self._records(partition, [pointer.offset]))[pointer.offset]
        if crc(value) != pointer.checksum:
            raise SnapshotError("the checksum differs")
        index = decode_index(value, self._agent, partition)
        segments = index.segments
        try:
            if index.directory is not None:
                found = await self._data(partition, {"the directory": index.directory})
                segments = decode_directory(found["the directory"])
            stage.restore(await self._data(partition, segments))
        except (msgspec.DecodeError, CorruptError, LookupError, ValueError) as error:
            raise SnapshotError(f"it cannot be restored by this version: {error}") from error
        self._last[partition] = _Last(segments, dict(stage.segments()), index.written_bytes)
        return index

    async def _data(self, partition: int, segments: Directory) -> dict[str, bytes]:
        chunks = await self._records(partition, [offset for written in segments.values() for offset in written.offsets])
        slices = Slices()
        found = {}
        for name, written in segments.items():
            data = b"".join(chunks[offset] for offset in written.offsets)
            if crc(data) != written.checksum:
                raise SnapshotError(f"segment {name!r} is damaged")
            found[name] = decompress(data, MAX_SEGMENT_BYTES)
            await slices.turn()
        return found

    async def _records(self, partition: int, offsets: list[int]) -> dict[int, bytes]:
        try:
            return await read_offsets(self._settings, self._topic, partition, offsets)
        except LookupError as error:
            raise SnapshotError(error.args[0]) from None

    async def indexes(self, partition: int) -> list[Pointer]:
        """Return pointers to all indexes in the log, the newest first."""
        found = await keyed(self._settings, self._topic, partition, INDEX_KEY)
        return [Pointer(offset, crc(value)) for offset, value in reversed(found)]
