"""Snapshots: what is written again, what is read back, and that damage is never taken for state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from schemas.codec import crc, decompress
from schemas.records import Record
from streams.engine import checkpoint
from streams.engine.checkpoint import DIRECTORY_KEY, INDEX_KEY, SEGMENT_KEY, Cut, Snapshots
from streams.engine.connection import admin, reader
from streams.engine.outbox import Outbox, Output
from streams.engine.pointer import Index, Pointer, SnapshotError, Written, decode_directory
from streams.engine.positions import bounds, read_range
from streams.engine.stage import Reading, unwatched
from streams.settings import Settings
from tests.brokers import Embedded, Kafka, eventually_async, unique

CHUNK_BYTES = 2_000


class Segments:
    """A stage that is nothing but its segments."""

    def __init__(self, **segments: bytes) -> None:
        self.data = dict(segments)
        self.changes = dict.fromkeys(segments, 0)
        self.before_change: Callable[[str], None] = unwatched

    def set(self, name: str, data: bytes) -> None:
        """Change a segment."""
        self.before_change(name)
        self.data[name] = data
        self.changes[name] = self.changes.get(name, 0) + 1

    def segments(self) -> Mapping[str, int]:
        return dict(self.changes)

    def encode(self, segment: str) -> bytes:
        return self.data[segment]

    def restore(self, segments: Mapping[str, bytes]) -> None:
        self.data, self.changes = dict(segments), dict.fromkeys(segments, 0)

    def update(self, records: Sequence[Record]) -> list[Output]:
        raise AssertionError(f"{len(records)} records for a stage without logic")

    def ready(self, records: Sequence[Record]) -> int:
        return len(records)

    def lost(self, n_records: int) -> None:
        raise AssertionError(f"{n_records} records lost")

    def flush(self, now_ms: int, *, caught_up: bool) -> Iterator[Output]:
        del now_ms, caught_up
        yield from ()

    def readings(self) -> Sequence[Reading]:
        return ()

    def read(self, reading: Reading, records: Sequence[Record]) -> list[Output]:
        raise AssertionError(f"{reading}, {len(records)} records")

    def before_checkpoint(self) -> bool:
        return False

    def lowest_offset(self) -> int:
        return 7


class Log:
    """A snapshot topic of a test's own and who writes to it."""

    def __init__(self, settings: Settings, outbox: Outbox, topic: str) -> None:
        self.settings, self.outbox, self.topic = settings, outbox, topic

    def snapshots(self, agent: str = "profile") -> Snapshots:
        """Return a writer that remembers nothing, as after a restart."""
        return Snapshots(self.settings, self.outbox, agent, self.topic)

    async def records(self, partition: int = 0) -> list[Any]:
        """Return everything the log holds."""
        return (await read_range(self.settings, self.topic, partition, 0, await self.end(partition))).records

    async def end(self, partition: int = 0) -> int:
        """Return the offset after the last record."""
        return (await self._bounds(partition))[1]

    async def first(self, partition: int = 0) -> int:
        """Return the first offset the log holds."""
        return (await self._bounds(partition))[0]

    async def _bounds(self, partition: int) -> tuple[int, int]:
        consumer = reader(self.settings)
        await consumer.start()
        try:
            return await bounds(consumer, TopicPartition(self.topic, partition))
        finally:
            await consumer.stop()

    async def put(self, key: bytes, value: bytes, partition: int = 0) -> int:
        """Append a record and return its offset."""
        return await self.outbox.send(Output(self.topic, partition, key, value))


@pytest.fixture
async def log(shared_embedded_broker: Embedded, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Log]:
    monkeypatch.setattr(checkpoint, "CHUNK_BYTES", CHUNK_BYTES)
    topic = unique("snapshots")
    shared_embedded_broker.create_topics({topic: 2})
    async for made in _log(Settings(bootstrap_servers=shared_embedded_broker.bootstrap_servers, embedded=True), topic):
        yield made


@pytest.fixture
async def kafka_log(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Log]:
    monkeypatch.setattr(checkpoint, "CHUNK_BYTES", CHUNK_BYTES)
    topic = unique("snapshots")
    kafka.create_topics({topic: 1}, {"cleanup.policy": "delete", "retention.ms": "-1"})
    async for made in _log(Settings(bootstrap_servers=kafka.bootstrap_servers), topic):
        yield made


async def _log(settings: Settings, topic: str) -> AsyncIterator[Log]:
    failures: list[str] = []
    outbox = Outbox(settings, failures.append)
    outbox.start()
    yield Log(settings, outbox, topic)
    await outbox.close()
    assert failures == []


async def written(snapshots: Snapshots, partition: int, position: int, stage: Segments) -> Pointer:
    """Write the state as it is now."""
    return await snapshots.write(partition, snapshots.cut(partition, position, stage))


def noise(n_bytes: int, seed: int = 1) -> bytes:
    """Return bytes that do not compress."""
    import numpy as np

    return np.random.default_rng(seed).bytes(n_bytes)


@pytest.mark.parametrize(
    "text",
    ["", "1:5", "1:5:ab:0:0", "2:5:ab:0:0;", "3:5:ab:0:0:0;", "1:5:xyz:0:0;", "2:a:ab:0:0:0;", "1:5:ab:0;", "{}"],
)
def test_metadata_that_is_no_pointer_is_none(text: str) -> None:
    assert Pointer.decode(text) is None


def test_a_pointer_is_read_as_it_was_written() -> None:
    pointer = Pointer(2**40, 0xFFFFFFFF, 2, 2**40, 2**40)
    assert Pointer.decode(pointer.encode()) == pointer
    assert len(pointer.encode()) < 100


async def test_state_of_many_chunks_comes_back(log: Log) -> None:
    stage = Segments(small=b"x", large=noise(5 * CHUNK_BYTES), empty=b"")
    pointer = await written(log.snapshots(), 0, 77, stage)
    again = Segments()
    assert (await log.snapshots().read(0, pointer, again)).position == 77
    assert again.data == stage.data
    assert sum(record.key == SEGMENT_KEY + b"large" for record in await log.records()) >= 5


async def test_only_changed_segments_are_written_again(log: Log) -> None:
    stage = Segments(a=b"a", b=b"b")
    snapshots = log.snapshots()
    await written(snapshots, 0, 1, stage)
    before = await log.end()
    stage.set("b", b"bb")
    stage.set("c", b"c")
    pointer = await written(snapshots, 0, 2, stage)
    assert [record.key for record in (await log.records())[before:]] == [
        SEGMENT_KEY + b"b",
        SEGMENT_KEY + b"c",
        DIRECTORY_KEY,
        INDEX_KEY,
    ]
    again = Segments()
    assert (await log.snapshots().read(0, pointer, again)).position == 2
    assert again.data == {"a": b"a", "b": b"bb", "c": b"c"}


async def test_a_worker_that_restored_writes_only_what_changes(log: Log) -> None:
    pointer = await written(log.snapshots(), 0, 1, Segments(a=b"a", b=b"b"))
    snapshots, stage = log.snapshots(), Segments()
    await snapshots.read(0, pointer, stage)
    before = await log.end()
    stage.set("a", b"aa")
    await written(snapshots, 0, 2, stage)
    assert [record.key for record in (await log.records())[before:]] == [SEGMENT_KEY + b"a", DIRECTORY_KEY, INDEX_KEY]


async def test_an_old_segment_is_written_again_before_the_log_grows_without_end(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "REWRITE_AFTER_BYTES", 10_000)
    stage, snapshots = Segments(quiet=b"q", busy=b""), log.snapshots()
    for number in range(8):
        stage.set("busy", noise(3_000, number))
        pointer = await written(snapshots, 0, number, stage)
    quiet = [record.offset for record in await log.records() if record.key == SEGMENT_KEY + b"quiet"]
    assert 2 <= len(quiet) <= 3
    assert snapshots.trimmer.trimmable(0) is not None
    assert 0 < (snapshots.trimmer.trimmable(0) or 0) <= quiet[-1]
    again = Segments()
    await log.snapshots().read(0, pointer, again)
    assert again.data == stage.data


async def test_another_writer_in_between_changes_nothing(log: Log) -> None:
    stage, other = Segments(a=noise(5_000, 1)), Segments(a=noise(5_000, 2))
    first, zombie = log.snapshots(), log.snapshots()
    await written(first, 0, 1, stage)
    await written(zombie, 0, 1, other)
    stage.set("b", b"b")
    pointer = await written(first, 0, 2, stage)
    other.set("b", b"of the zombie")
    await written(zombie, 0, 2, other)
    again = Segments()
    await log.snapshots().read(0, pointer, again)
    assert again.data == stage.data


async def test_a_partition_has_its_own_snapshots(log: Log) -> None:
    snapshots = log.snapshots()
    pointers = [await written(snapshots, partition, partition, Segments(a=bytes([partition]))) for partition in (0, 1)]
    for partition in (0, 1):
        again = Segments()
        assert (await log.snapshots().read(partition, pointers[partition], again)).position == partition
        assert again.data == {"a": bytes([partition])}


async def test_the_newest_index_is_found_without_a_pointer(log: Log) -> None:
    snapshots, stage = log.snapshots(), Segments(a=b"a")
    assert await snapshots.indexes(0) == []
    for number in range(3):
        stage.set("a", b"%d" % number)
        pointer = await written(snapshots, 0, number, stage)
    await log.put(b"a", b"an orphan of a crash")
    [newest, *older] = await log.snapshots().indexes(0)
    assert newest == pointer._replace(lowest=0)
    assert [one.offset for one in older] == sorted((one.offset for one in older), reverse=True)


async def _inline(log: Log, pointer: Pointer, change: Callable[[Written], Written] = lambda w: w) -> Pointer:
    """Write the index of a snapshot again as format 1 had it: with the directory inside."""
    index = msgspec.msgpack.decode((await log.records())[pointer.offset].value, type=Index)
    assert index.directory is not None
    records = await log.records()
    data = b"".join(records[offset].value for offset in index.directory.offsets)
    segments = {name: change(one) for name, one in decode_directory(decompress(data, 1_000_000)).items()}
    value = msgspec.msgpack.encode(msgspec.structs.replace(index, format=1, segments=segments, directory=None))
    return Pointer(await log.put(INDEX_KEY, value), crc(value))


async def test_a_snapshot_of_the_first_format_is_migrated(log: Log) -> None:
    stage = Segments(a=noise(3 * CHUNK_BYTES), b=b"b")
    old = await _inline(log, await written(log.snapshots(), 0, 5, stage))
    snapshots, again = log.snapshots(), Segments()
    assert (await snapshots.read(0, old, again)).position == 5
    assert again.data == stage.data
    pointer = await written(snapshots, 0, 6, again)
    assert (await log.snapshots().read(0, pointer, Segments())).format == 2
    assert Pointer.decode(f"1:{old.offset}:{old.checksum:08x}:1:9;") == old._replace(attempts=1, suspect=9)


async def _damaged(log: Log, change: Any) -> Pointer:
    """Write a snapshot, then an index over the same chunks with something changed."""
    pointer = await written(log.snapshots(), 0, 1, Segments(a=noise(3 * CHUNK_BYTES)))
    index = msgspec.msgpack.decode((await log.records())[pointer.offset].value, type=Index)
    value = msgspec.msgpack.encode(msgspec.structs.replace(index, **change(index)))
    return Pointer(await log.put(INDEX_KEY, value), crc(value))


async def _refused(log: Log, pointer: Pointer, why: str) -> None:
    stage = Segments(untouched=b"yes")
    with pytest.raises(SnapshotError, match=why):
        await log.snapshots().read(0, pointer, stage)
    assert stage.data == {"untouched": b"yes"}


async def test_a_damaged_index_is_refused(log: Log) -> None:
    pointer = await written(log.snapshots(), 0, 1, Segments(a=b"a"))
    await _refused(log, pointer._replace(checksum=pointer.checksum ^ 1), "the checksum differs")


async def test_a_damaged_chunk_is_refused(log: Log) -> None:
    pointer = await written(log.snapshots(), 0, 1, Segments(a=noise(3 * CHUNK_BYTES)))
    other = await log.put(b"a", noise(CHUNK_BYTES, 9))
    changed = await _inline(log, pointer, lambda w: msgspec.structs.replace(w, offsets=[*w.offsets[:-1], other]))
    await _refused(log, changed, "segment 'a' is damaged")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"agent": "judge"}, "of judge/0"),
        ({"partition": 1}, "of profile/1"),
        ({"format": 3}, "of format 3, this version reads 1 and 2"),
    ],
)
async def test_a_snapshot_of_somebody_else_is_refused(log: Log, change: dict[str, Any], why: str) -> None:
    await _refused(log, await _damaged(log, lambda _index: change), why)


async def test_a_record_that_is_no_index_is_refused(log: Log) -> None:
    value = b"\x93\x01"
    await _refused(log, Pointer(await log.put(INDEX_KEY, value), crc(value)), r"@0")


async def test_a_missing_record_is_refused(log: Log, shared_embedded_broker: Embedded) -> None:
    snapshots, stage = log.snapshots(), Segments(a=b"a", b=b"b")
    await written(snapshots, 0, 1, stage)
    stage.set("b", b"bb")
    pointer = await written(snapshots, 0, 2, stage)
    shared_embedded_broker.delete_records(log.topic, 0, 1)
    await _refused(log, pointer, "outside the log 1..")
    await _refused(log, Pointer(1_000, 0), "outside the log")


async def test_state_this_version_cannot_take_is_refused(log: Log) -> None:
    class Newer(Segments):
        def restore(self, segments: Mapping[str, bytes]) -> None:
            msgspec.msgpack.decode(segments["a"], type=list[int])

    pointer = await written(log.snapshots(), 0, 1, Segments(a=b"\xff\xff"))
    with pytest.raises(SnapshotError, match="cannot be restored by this version"):
        await log.snapshots().read(0, pointer, Newer())


async def test_a_reading_tells_how_many_records_are_gone(log: Log, shared_embedded_broker: Embedded) -> None:
    for number in range(6):
        await log.put(b"k", b"%d" % number)
    shared_embedded_broker.delete_records(log.topic, 0, 2)
    again = await read_range(log.settings, log.topic, 0, 1, 5)
    assert ([record.value for record in again.records], again.n_lost) == ([b"2", b"3", b"4"], 1)
    assert await read_range(log.settings, log.topic, 0, 0, 1) == ([], 1)


async def test_the_embedded_broker_is_not_asked_to_delete(log: Log) -> None:
    stage, snapshots = Segments(a=b"a"), log.snapshots()
    for number in range(5):
        stage.set("a", b"%d" % number)
        await written(snapshots, 0, number, stage)
        snapshots.trimmer.trim(0)
    assert snapshots.trimmer.trimmable(0) == 6, "three records a snapshot"
    assert await log.first() == 0


async def test_records_below_the_third_last_snapshot_are_deleted(kafka_log: Log) -> None:
    stage, snapshots = Segments(quiet=b"q", a=b"a"), kafka_log.snapshots()
    pointers = []
    for number in range(6):
        stage.set("quiet", b"q")
        stage.set("a", noise(3 * CHUNK_BYTES, number))
        pointers.append(await written(snapshots, 0, number, stage))
    snapshots.trimmer.trim(0)
    await eventually_async(lambda: _trimmed(kafka_log), why="old snapshots are deleted")
    assert pointers[2].offset < await kafka_log.first() <= pointers[3].offset
    for number in (3, 4, 5):
        again = Segments()
        assert (await kafka_log.snapshots().read(0, pointers[number], again)).position == number
    with pytest.raises(SnapshotError, match="outside the log"):
        await kafka_log.snapshots().read(0, pointers[2], Segments())


async def _trimmed(log: Log) -> bool:
    return await log.first() > 0


async def test_a_quiet_segment_keeps_its_records(kafka_log: Log) -> None:
    stage, snapshots = Segments(quiet=b"q", a=b"a"), kafka_log.snapshots()
    for number in range(6):
        stage.set("a", b"%d" % number)
        pointer = await written(snapshots, 0, number, stage)
        snapshots.trimmer.trim(0)
    assert snapshots.trimmer.trimmable(0) == 0, "the first record is still needed"
    again = Segments()
    await kafka_log.snapshots().read(0, pointer, again)
    assert again.data == stage.data


async def test_trimming_that_is_not_allowed_is_said_once(
    kafka_log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from aiokafka.errors import TopicAuthorizationFailedError

    async def refused(*_args: Any, **_options: Any) -> None:
        raise TopicAuthorizationFailedError("no DELETE")

    monkeypatch.setattr(type(admin(kafka_log.settings)), "delete_records", refused)
    stage, snapshots = Segments(a=b"a"), kafka_log.snapshots()
    for number in range(8):
        stage.set("a", b"%d" % number)
        await written(snapshots, 0, number, stage)
        snapshots.trimmer.trim(0)
        await eventually_async(lambda: snapshots.trimmer.idle)
    assert caplog.text.count("old snapshots cannot be deleted") == 1


async def test_a_cut_is_the_state_as_it_was(log: Log) -> None:
    stage, snapshots = Segments(a=b"a", b=b"b", c=b"c"), log.snapshots()
    cut = snapshots.cut(0, 5, stage)
    stage.set("b", b"bb")
    stage.set("b", b"bbb")
    stage.set("d", b"d")
    pointer = await snapshots.write(0, cut)
    again = Segments()
    assert (await log.snapshots().read(0, pointer, again)).position == 5
    assert again.data == {"a": b"a", "b": b"b", "c": b"c"}
    pointer = await written(snapshots, 0, 6, stage)
    await log.snapshots().read(0, pointer, again)
    assert again.data == {"a": b"a", "b": b"bbb", "c": b"c", "d": b"d"}, "what changed after the cut is in the next"


def test_a_change_that_is_not_announced_is_never_taken_for_the_state_at_the_cut() -> None:
    stage = Segments(a=b"a", b=b"b")
    cut = Cut(stage, 5, stage.segments(), {})
    stage.before_change = unwatched  # as a stage that forgets to call it
    stage.set("b", b"bb")
    with pytest.raises(RuntimeError, match="segment 'b' has changed"):
        cut.close()


async def test_thousands_of_segments_fit_into_messages(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "CHUNK_BYTES", 10_000)
    stage = Segments(**{f"model/{n:05}": b"%d" % n for n in range(2_000)})
    pointer = await written(log.snapshots(), 0, 1, stage)
    assert max(len(record.value) for record in await log.records()) <= 10_000
    again = Segments()
    await log.snapshots().read(0, pointer, again)
    assert again.data == stage.data


async def test_a_large_state_is_not_written_again_sooner_than_it_has_grown_over(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "REWRITE_AFTER_BYTES", 1)
    stage, snapshots = Segments(quiet=noise(9_000), busy=b""), log.snapshots()
    for number in range(20):
        stage.set("busy", noise(1_000, number))
        await written(snapshots, 0, number, stage)
    n_quiet = sum(len(r.value) for r in await log.records() if r.key == SEGMENT_KEY + b"quiet") // 9_000
    assert n_quiet == 1, "20 kB after it are less than three times the 10 kB the state takes"


async def test_a_snapshot_that_ends_after_its_partition_went_is_no_base_for_the_next(log: Log) -> None:
    snapshots, former = log.snapshots(), Segments(a=b"former")
    cut = snapshots.cut(0, 5, former)
    snapshots.forget(0)
    await snapshots.write(0, cut)
    stage = Segments(a=b"restored")
    assert stage.segments() == former.segments(), "its numbers say nothing of another stage"
    pointer = await written(snapshots, 0, 6, stage)
    again = Segments()
    await log.snapshots().read(0, pointer, again)
    assert again.data == {"a": b"restored"}
