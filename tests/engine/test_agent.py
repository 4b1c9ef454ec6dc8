"""A stateful agent with its group in this process: what it takes over, skips, loses loudly, and leaves for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from aiokafka.errors import CommitFailedError, IllegalGenerationError, RebalanceInProgressError

from schemas.records import PlainRecord, Record
from streams.engine import private
from streams.engine.agent import StatefulAgent
from streams.engine.checkpoint import INDEX_KEY
from streams.engine.outbox import Outbox, Output
from streams.engine.pointer import Pointer
from streams.engine.private import Committed
from streams.engine.stage import Reading, unwatched
from streams.settings import Settings
from tests.brokers import Embedded, eventually_async, unique
from tests.engine.running import Cluster, read_all

NAME = "profile"


class Left(Exception):
    """The agent ended the process."""


class Offsets:
    """A stage that remembers the offsets it was given and raises on a poisonous value."""

    def __init__(self, log_end: int) -> None:
        self.log_end = log_end
        self.offsets: list[int] = []
        self.wanted: list[Reading] = []
        self.again: list[int] = []
        self.heard: list[tuple[int, int]] = []
        self.admitted: int | None = None
        self.decides = False
        self.lowest = 0
        self.before_change: Callable[[str], None] = unwatched
        self._changes = 0

    def update(self, records: Sequence[Record]) -> list[Output]:
        self.before_change("offsets")
        self._changes += 1
        self.offsets += [record.offset for record in records]
        if any(record.value == b"poison" for record in records):
            raise ZeroDivisionError("a defect")
        return []

    def ready(self, records: Sequence[Record]) -> int:
        if self.admitted is None:
            return len(records)
        return sum(record.offset < self.admitted for record in records)

    def lost(self, n_records: int) -> None:
        self.heard.append((len(self.offsets), n_records))

    def flush(self, now_ms: int, *, caught_up: bool) -> Iterator[Output]:
        del now_ms, caught_up
        yield from ()

    def readings(self) -> Sequence[Reading]:
        wanted, self.wanted = self.wanted, []
        return wanted

    def read(self, reading: Reading, records: Sequence[Record]) -> list[Output]:
        del reading
        self.again += [record.offset for record in records]
        return []

    def before_checkpoint(self) -> bool:
        decides, self.decides = self.decides, False
        return decides

    def lowest_offset(self) -> int:
        return self.lowest

    def segments(self) -> Mapping[str, int]:
        return {"offsets": self._changes}

    def encode(self, segment: str) -> bytes:
        assert segment == "offsets"
        return msgspec.msgpack.encode(self.offsets)

    def restore(self, segments: Mapping[str, bytes]) -> None:
        self.offsets = msgspec.msgpack.decode(segments["offsets"], type=list[int])


class Counted:
    """Metrics that are only counted."""

    def __init__(self) -> None:
        self.lost: list[tuple[str, int]] = []

    def checkpoint(self, seconds: float, size_bytes: int) -> None:
        assert seconds >= 0
        assert size_bytes > 0

    def pause(self, cause: str, seconds: float) -> None:
        assert cause in ("flush", "checkpoint")
        assert seconds >= 0

    def state_lost(self, agent: str, n_records: int) -> None:
        self.lost.append((agent, n_records))


class World:
    """A broker with an input and a snapshot topic, and a group whose commits stand here."""

    def __init__(self, broker: Embedded) -> None:
        self.broker = broker
        self.settings: Settings = Cluster.settings_for(broker)
        self.input, self.snapshots = unique("input"), unique("snapshots")
        broker.create_topics({self.input: 1, self.snapshots: 1})
        self.outbox = Outbox(self.settings, self.leave)
        self.commits: dict[int, Committed] = {}
        self.metrics = Counted()
        self.fenced = self.rebalancing = False
        self.dead: list[tuple[int, str]] = []
        self.first = 0
        self.generation = 1
        self.topic_id = ""
        self.hold: asyncio.Event | None = None

    def leave(self, reason: str) -> None:
        """End the process."""
        raise Left(reason)

    def agent(self) -> StatefulAgent:
        """Return an agent as a new process has it."""

        def poisonous(record: Record, why: str) -> list[Output]:
            self.dead.append((record.offset, why))
            return []

        return StatefulAgent(
            None,  # type: ignore[arg-type]  # the group stands in this object
            self.settings,
            self.outbox,
            name=NAME,
            topic=self.input,
            snapshot_topic=self.snapshots,
            make_stage=lambda _partition, log_end: Offsets(log_end),
            poisonous=poisonous,
            metrics=self.metrics,
            leave=self.leave,
        )

    async def send(self, *values: bytes) -> None:
        """Append records to the input."""
        self.outbox.put([Output(self.input, 0, None, value) for value in values])
        await self.outbox.drained()

    def records(self, start: int = 0) -> list[PlainRecord]:
        """Return the input from an offset on, as Faust would hand it over."""
        return [record for record in read_all(self.broker.bootstrap_servers, self.input) if record.offset >= start]

    def log_of_snapshots(self) -> list[PlainRecord]:
        """Return what the snapshot topic holds."""
        return list(read_all(self.broker.bootstrap_servers, self.snapshots))

    @property
    def pointer(self) -> Pointer:
        """The pointer committed."""
        pointer = Pointer.decode(self.commits[0].metadata)
        assert pointer is not None
        return pointer


@pytest.fixture
async def world(shared_embedded_broker: Embedded, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    one = World(shared_embedded_broker)

    async def committed(_app: Any, _topic: str, partitions: Sequence[int]) -> dict[int, Committed]:
        return {partition: one.commits[partition] for partition in partitions if partition in one.commits}

    async def commit(_app: Any, _topic: str, partition: int, offset: int, metadata: str, generation: int) -> None:
        assert generation == one.generation
        if one.hold is not None:
            await one.hold.wait()
        if one.rebalancing:
            raise CommitFailedError("not now") from RebalanceInProgressError()
        if one.fenced:
            raise CommitFailedError("another owns it") from IllegalGenerationError()
        one.commits[partition] = Committed(offset, metadata)

    async def first_offset(_app: Any, _topic: str, _partition: int) -> int:
        return one.first

    for name, function in {"committed": committed, "commit": commit, "first_offset": first_offset}.items():
        monkeypatch.setattr(private, name, function)
    monkeypatch.setattr(private, "remaining", lambda *_place: None)
    monkeypatch.setattr(private, "generation", lambda _app: one.generation)

    async def topic_id(_settings: Settings, _topic: str) -> str:
        return one.topic_id

    monkeypatch.setattr("streams.engine.agent.topic_id", topic_id)
    one.outbox.start()
    yield one
    await one.outbox.close()


def _stage(agent: StatefulAgent) -> Offsets:
    stage = agent.held[0].stage
    assert isinstance(stage, Offsets)
    return stage


async def _grown(world: World, n_records: int) -> StatefulAgent:
    """Return an agent that has taken and checkpointed some records."""
    await world.send(*[b"%d" % n for n in range(n_records)])
    agent = world.agent()
    await agent.restore([0])
    await agent.take(world.records())
    await agent.checkpoint()
    return agent


async def test_a_fresh_start_begins_at_the_first_record_and_commits_it(world: World) -> None:
    await world.send(b"a", b"b")
    agent = world.agent()
    await agent.restore([0])
    assert world.commits[0].offset == 0
    assert agent.held[0].position == 0
    assert world.metrics.lost == []


async def test_state_and_position_come_back_as_one(world: World) -> None:
    await _grown(world, 5)
    agent = world.agent()
    await agent.restore([0])
    assert (agent.held[0].position, _stage(agent).offsets) == (5, [0, 1, 2, 3, 4])
    await agent.take(world.records())
    assert _stage(agent).offsets == [0, 1, 2, 3, 4], "what lies below the position is skipped"
    await world.send(b"5")
    await agent.take(world.records(3))
    assert _stage(agent).offsets == [0, 1, 2, 3, 4, 5]
    assert world.metrics.lost == []


async def test_records_after_the_last_checkpoint_are_taken_again(world: World) -> None:
    agent = await _grown(world, 3)
    await world.send(b"3", b"4")
    await agent.take(world.records(3))
    again = world.agent()
    await again.restore([0])
    assert again.held[0].position == 3
    await again.take(world.records(3))
    assert _stage(again).offsets == [0, 1, 2, 3, 4]


async def test_a_snapshot_beside_no_commit_is_no_fresh_start(world: World) -> None:
    await _grown(world, 5)
    world.commits.clear()  # the group's offsets have expired
    agent = world.agent()
    await agent.restore([0])
    assert (agent.held[0].position, _stage(agent).offsets) == (5, [0, 1, 2, 3, 4])
    assert _stage(agent).log_end == 5, "what an earlier worker may have sent on is known to reach to the end"
    assert world.commits[0].offset == 5, "Faust begins where the state ends"


async def test_a_commit_without_a_pointer_uses_the_newest_snapshot(world: World) -> None:
    await _grown(world, 5)
    world.commits[0] = Committed(4, "")
    agent = world.agent()
    await agent.restore([0])
    assert (agent.held[0].position, world.commits[0].offset) == (5, 5)
    assert world.metrics.lost == []


async def test_a_commit_without_any_snapshot_is_built_again(world: World) -> None:
    await world.send(b"a", b"b", b"c")
    world.commits[0] = Committed(3, "")
    agent = world.agent()
    await agent.restore([0])
    assert (agent.held[0].position, world.commits[0].offset) == (0, 0)
    assert world.metrics.lost == [], "the log has everything"


async def test_what_the_log_has_no_more_is_lost_state(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.send(b"a", b"b", b"c", b"d")
    world.broker.delete_records(world.input, 0, 2)
    world.commits[0] = Committed(3, "")
    agent = world.agent()
    await agent.restore([0])
    assert world.metrics.lost == [(NAME, 2)]
    assert "state_lost" in caplog.text
    assert agent.held[0].position == 2, "it is built again from what the log still has"
    assert _stage(agent).heard == [(0, 2)]


async def test_records_wait_until_the_stage_can_take_them(world: World) -> None:
    agent = await _grown(world, 3)
    await world.send(*[b"x"] * 4)
    _stage(agent).admitted = 5
    taking = asyncio.create_task(agent.take(world.records(3)))
    await eventually_async(lambda: _stage(agent).offsets[-1] == 4)
    assert not taking.done()
    await agent.checkpoint()
    assert world.commits[0].offset == 5, "what waits holds nothing else up"
    _stage(agent).admitted = None
    await taking
    assert _stage(agent).offsets == [0, 1, 2, 3, 4, 5, 6]


async def test_records_that_wait_are_dropped_with_their_partition(world: World) -> None:
    agent = await _grown(world, 3)
    await world.send(b"3")
    _stage(agent).admitted = 3
    taking = asyncio.create_task(agent.take(world.records(3)))
    await agent.release()
    await taking
    assert (agent.held, world.commits[0].offset) == ({}, 3)


async def test_waiting_for_ever_is_leaving(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.engine.intake.READY_TIMEOUT_S", 0.0)
    agent = await _grown(world, 3)
    await world.send(b"3")
    _stage(agent).admitted = 3
    with pytest.raises(Left, match=f"{world.input}/0@3 .* names and the control topics have not brought"):
        await agent.take(world.records(3))


@pytest.mark.parametrize("damage", ["checksum", "missing", "another agent's", "of a newer form"])
async def test_a_snapshot_that_cannot_be_read_is_replaced_by_the_newest_that_can(
    world: World, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    await _grown(world, 5)
    pointer = world.pointer
    newest = pointer.offset
    if damage == "checksum":
        pointer = pointer._replace(checksum=pointer.checksum ^ 1)
    elif damage == "missing":
        pointer = pointer._replace(offset=1_000)
    else:
        from schemas.codec import crc

        index = next(r for r in read_all(world.broker.bootstrap_servers, world.snapshots) if r.offset == pointer.offset)
        changed = msgspec.msgpack.decode(index.value or b"")
        changed |= {"agent": "judge"} if damage == "another agent's" else {"format": 3}
        value = msgspec.msgpack.encode(changed)
        pointer = Pointer(await world.outbox.send(Output(world.snapshots, 0, INDEX_KEY, value)), crc(value))
    world.commits[0] = Committed(5, pointer.encode())
    agent = world.agent()
    await agent.restore([0])
    assert world.metrics.lost == []
    assert "a snapshot cannot be used" in caplog.text
    assert (agent.held[0].position, _stage(agent).offsets) == (5, [0, 1, 2, 3, 4])
    assert (world.commits[0].offset, world.pointer.offset > newest) == (5, True), "and a good one is committed"


async def _without_snapshots(world: World, lowest: int, n_deleted: int) -> StatefulAgent:
    """Return an agent restored after its snapshots were destroyed and records of the input deleted."""
    agent = await _grown(world, 5)
    _stage(agent).lowest = lowest
    await world.send(b"5")
    await agent.take(world.records(5))
    await agent.checkpoint()
    world.broker.delete_records(world.snapshots, 0, world.pointer.offset + 1)
    world.broker.delete_records(world.input, 0, n_deleted)
    again = world.agent()
    await again.restore([0])
    return again


async def test_without_a_snapshot_the_state_is_built_from_what_matters(world: World) -> None:
    agent = await _without_snapshots(world, 2, 1)
    assert (agent.held[0].position, world.commits[0].offset) == (2, 2)
    assert world.metrics.lost == []
    assert _stage(agent).log_end == 2, "an earlier worker's records are counted here again, and sent to nobody"
    await agent.take(world.records(2))
    assert _stage(agent).offsets == [2, 3, 4, 5]


async def test_without_a_snapshot_and_with_records_gone_state_is_lost(world: World) -> None:
    agent = await _without_snapshots(world, 2, 4)
    assert agent.held[0].position == 4
    assert world.metrics.lost == [(NAME, 2)]
    assert _stage(agent).heard == [(0, 2)]


async def test_a_topic_made_again_is_not_taken_for_the_former_one(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.topic_id = "former"
    await _grown(world, 5)
    world.topic_id = "present"
    agent = world.agent()
    await agent.restore([0])
    assert world.metrics.lost == [(NAME, 5)]
    assert "deleted and made again" in caplog.text
    assert (agent.held[0].position, _stage(agent).offsets, _stage(agent).heard) == (0, [], [(0, 5)])
    await agent.take(world.records())
    again = world.agent()
    await again.restore([0])
    assert len(world.metrics.lost) == 1, "it is told once"


@pytest.mark.parametrize(("topic_id", "position"), [("same", 3), ("", 0)])
async def test_a_position_beyond_the_log_is_lost_state(world: World, topic_id: str, position: int) -> None:
    world.topic_id = topic_id
    await _grown(world, 5)
    shorter = unique("input")
    world.broker.create_topics({shorter: 1})
    world.input = shorter
    await world.send(b"a", b"b", b"c")
    agent = world.agent()
    await agent.restore([0])
    assert agent.held[0].position == position, "without an id of the topic it may be another log"
    assert world.metrics.lost == [(NAME, 5 - position)]
    assert _stage(agent).heard == [(len(_stage(agent).offsets), 5 - position)]


async def test_records_deleted_below_the_position_are_counted(world: World) -> None:
    agent = await _grown(world, 3)
    await world.send(*[b"x"] * 7)
    world.broker.delete_records(world.input, 0, 6)
    again = world.agent()
    await again.restore([0])
    assert world.metrics.lost == [(NAME, 3)], "offsets 3, 4 and 5 were never read"
    assert again.held[0].position == 6
    assert _stage(again).heard == [(3, 3)]
    del agent


async def test_records_deleted_while_running_are_counted(world: World) -> None:
    agent = await _grown(world, 3)
    await world.send(*[b"x"] * 5)
    world.first = 6
    await agent.take(world.records(6))
    assert world.metrics.lost == [(NAME, 3)]
    assert _stage(agent).heard == [(3, 3)], "the stage is told before the next record"


async def test_offsets_left_out_by_transactions_are_no_loss(world: World) -> None:
    agent = await _grown(world, 3)
    await world.send(*[b"x"] * 5)
    await agent.take(world.records(5))
    assert world.metrics.lost == []
    assert _stage(agent).offsets == [0, 1, 2, 5, 6, 7]


async def test_records_that_cannot_be_read_again_are_counted(world: World) -> None:
    agent = await _grown(world, 6)
    world.broker.delete_records(world.input, 0, 4)
    _stage(agent).wanted = [Reading("model", 0, 6)]
    await agent.flush()
    assert _stage(agent).again == [4, 5]
    assert world.metrics.lost == [(NAME, 4)]


async def _fail(world: World, records: Callable[[], list[PlainRecord]]) -> None:
    agent = world.agent()
    await agent.restore([0])
    with pytest.raises(Left):
        await agent.take(records())


async def test_the_culprit_is_found_and_left_out(world: World) -> None:
    await world.send(b"0", b"1", b"poison", b"3", b"4")
    await _fail(world, world.records)
    assert (world.pointer.attempts, world.pointer.suspect, world.commits[0].offset) == (1, 5, 0)
    await _fail(world, world.records)
    assert (world.pointer.attempts, world.pointer.suspect, world.commits[0].offset) == (2, 2, 0)
    assert world.dead == []
    agent = world.agent()
    await agent.restore([0])
    await agent.take(world.records())
    assert [offset for offset, _ in world.dead] == [2]
    assert _stage(agent).offsets == [0, 1, 3, 4]
    assert (world.pointer.attempts, world.commits[0].offset) == (0, 3), "the loss is durable before what follows it"


async def test_the_culprit_is_found_behind_a_batch_that_is_fine(world: World) -> None:
    await world.send(b"0", b"1", b"2", b"poison")
    await _fail(world, world.records)
    agent = world.agent()
    await agent.restore([0])
    await agent.take(world.records()[:2])
    await agent.checkpoint()
    assert (world.pointer.attempts, world.pointer.suspect) == (1, 4), "a checkpoint in between forgets nothing"
    with pytest.raises(Left):
        await agent.take(world.records(2))
    assert (world.pointer.attempts, world.pointer.suspect, world.commits[0].offset) == (2, 3, 2)
    agent = world.agent()
    await agent.restore([0])
    await agent.take(world.records(2))
    assert (_stage(agent).offsets, [offset for offset, _ in world.dead]) == ([0, 1, 2], [3])


async def test_a_failure_that_passes_costs_no_record(world: World) -> None:
    await world.send(b"0", b"poison", b"2")
    await _fail(world, world.records)
    records = [record._replace(value=b"fine now") for record in world.records()]
    agent = world.agent()
    await agent.restore([0])
    await agent.take(records)
    await agent.checkpoint()
    assert (_stage(agent).offsets, world.dead, world.pointer.attempts) == ([0, 1, 2], [], 0)


async def test_a_failure_of_the_broker_is_no_attempt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = await _grown(world, 3)

    async def unavailable(*_place: Any) -> int:
        raise TimeoutError("no answer")

    monkeypatch.setattr(private, "first_offset", unavailable)
    with pytest.raises(Left, match="TimeoutError"):
        await agent.take([PlainRecord(world.input, 0, 9, 0, b"x")])
    assert world.pointer.attempts == 0


async def test_a_fenced_worker_drops_its_state(world: World) -> None:
    agent = await _grown(world, 3)
    await world.send(b"3")
    await agent.take(world.records(3))
    world.fenced = True
    await agent.release()
    assert agent.held == {}
    assert world.commits[0].offset == 3
    world.fenced = False
    await agent.take(world.records(3))
    assert agent.held == {}, "records of a partition that is somebody else's are dropped"


async def test_a_clean_release_leaves_nothing_to_do_again(world: World) -> None:
    agent = await _grown(world, 3)
    await world.send(b"3")
    await agent.take(world.records(3))
    await agent.release()
    assert world.commits[0].offset == 4
    await agent.restore([0])
    assert (agent.held[0].position, _stage(agent).offsets) == (4, [0, 1, 2, 3])


async def test_nothing_is_written_when_nothing_has_moved(world: World) -> None:
    agent = await _grown(world, 3)
    before = len(list(read_all(world.broker.bootstrap_servers, world.snapshots)))
    await agent.checkpoint()
    assert len(list(read_all(world.broker.bootstrap_servers, world.snapshots))) == before


async def test_a_commit_refused_while_the_group_rebalances_drops_the_state_and_nothing_else(world: World) -> None:
    agent = await _grown(world, 3)
    await world.send(b"3")
    await agent.take(world.records(3))
    world.rebalancing = True
    await agent.checkpoint()
    assert agent.held == {}
    world.rebalancing = False
    await agent.restore([0])
    assert agent.held[0].position == 3
    await agent.take(world.records(3))
    await agent.checkpoint()
    assert (_stage(agent).offsets, world.commits[0].offset) == ([0, 1, 2, 3], 4)


async def test_a_commit_refused_for_good_is_raised(world: World) -> None:
    agent = await _grown(world, 3)
    await world.send(b"3")
    await agent.take(world.records(3))
    world.fenced = True
    with pytest.raises(CommitFailedError):
        await agent.checkpoint()


async def _late_commit(world: World, *, decides: bool) -> tuple[StatefulAgent, asyncio.Event, asyncio.Task[None]]:
    """Return an agent whose checkpoint at 4 waits for its commit."""
    agent = await _grown(world, 3)
    await world.send(*[b"x"] * 4)
    await agent.take(world.records(3)[:1])
    _stage(agent).decides = decides
    world.hold = asyncio.Event()
    saving = asyncio.create_task(agent.checkpoint())
    await eventually_async(lambda: not _stage(agent).decides and len(world.log_of_snapshots()) > 6)
    return agent, world.hold, saving


async def test_records_are_taken_while_a_checkpoint_becomes_durable(world: World) -> None:
    agent, hold, saving = await _late_commit(world, decides=False)
    await agent.take(world.records(4))
    assert _stage(agent).offsets == [0, 1, 2, 3, 4, 5, 6]
    assert world.commits[0].offset == 3
    hold.set()
    await saving
    assert world.commits[0].offset == 4
    again = world.agent()
    await again.restore([0])
    assert (again.held[0].position, _stage(again).offsets) == (4, [0, 1, 2, 3]), "the state is that of the cut"


async def test_records_wait_for_the_commit_of_a_decision(world: World) -> None:
    agent, hold, saving = await _late_commit(world, decides=True)
    taking = asyncio.create_task(agent.take(world.records(4)))
    flushing = asyncio.create_task(agent.flush())
    for _ in range(20):
        await asyncio.sleep(0)
    assert _stage(agent).offsets == [0, 1, 2, 3]
    assert not flushing.done()
    hold.set()
    await asyncio.gather(taking, saving, flushing)
    assert (_stage(agent).offsets, world.commits[0].offset) == ([0, 1, 2, 3, 4, 5, 6], 4)


async def test_a_release_waits_for_the_checkpoint_under_way(world: World) -> None:
    agent, hold, saving = await _late_commit(world, decides=False)
    await agent.take(world.records(4))
    releasing = asyncio.create_task(agent.release())
    await asyncio.sleep(0)
    hold.set()
    await asyncio.gather(saving, releasing)
    assert (agent.held, world.commits[0].offset) == ({}, 7)


async def test_a_release_without_brokers_ends_and_commits_nothing_later(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streams.engine.agent.RELEASE_TIMEOUT_S", 0.05)
    agent, hold, saving = await _late_commit(world, decides=False)
    await agent.take(world.records(4))
    await agent.release()
    assert "state dropped" in caplog.text
    assert agent.held == {}
    world.hold = None
    await agent.restore([0])
    assert agent.held[0].position == 3
    hold.set()
    await saving
    assert world.commits[0].offset in (3, 4)


async def test_what_comes_back_in_the_next_generation_is_not_read_again(world: World) -> None:
    agent = await _grown(world, 3)
    stage = _stage(agent)
    await agent.release()
    world.generation += 1
    world.broker.delete_records(world.snapshots, 0, world.pointer.offset + 1)
    await agent.restore([0])
    assert _stage(agent) is stage
    await world.send(b"3")
    await agent.take(world.records(3))
    await agent.checkpoint()
    assert (stage.offsets, world.commits[0].offset) == ([0, 1, 2, 3], 4)


@pytest.mark.parametrize("between", ["a generation", "a commit"])
async def test_what_others_may_have_had_is_read_again(world: World, between: str) -> None:
    agent = await _grown(world, 3)
    stage = _stage(agent)
    await agent.release()
    world.generation += 2 if between == "a generation" else 1
    if between == "a commit":
        other = world.agent()
        await other.restore([0])
        await world.send(b"3")
        await other.take(world.records(3))
        await other.checkpoint()
    await agent.restore([0])
    assert _stage(agent) is not stage
    assert agent.held[0].position == world.commits[0].offset


async def test_a_state_that_is_gone_is_told(world: World) -> None:
    gone: list[Any] = []
    agent = await _grown(world, 3)
    agent._gone = gone.append
    await agent.release()
    assert gone == [], "it may come back"
    world.generation += 1
    await agent.restore([])
    assert len(gone) == 1


async def test_a_long_batch_lets_the_loop_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.engine.slices.MIN_BYTES", 1)
    await world.send(*[b"%d" % n for n in range(200)])
    agent = world.agent()
    await agent.restore([0])
    seen: set[int] = set()
    taking = asyncio.create_task(agent.take(world.records()))
    while not taking.done():
        seen.add(len(_stage(agent).offsets))
        await asyncio.sleep(0)
    assert len(seen) > 3
    assert _stage(agent).offsets == list(range(200))


async def test_the_culprit_is_found_right_behind_a_slice(world: World) -> None:
    await world.send(b"0", b"1", b"poison", b"3")
    await _fail(world, world.records)
    await _fail(world, world.records)
    agent = world.agent()
    await agent.restore([0])
    await agent.take(world.records()[:2])
    assert agent.held[0].attempts == 2, "the culprit has not come yet"
    await agent.take(world.records(2))
    assert (_stage(agent).offsets, [offset for offset, _ in world.dead]) == ([0, 1, 3], [2])
