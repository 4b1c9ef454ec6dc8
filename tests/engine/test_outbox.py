"""The outbox: first in, first out, durable or the end of the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from streams.engine import outbox as engine
from streams.engine.outbox import Outbox, Output
from streams.settings import Settings
from tests.brokers import Embedded, eventually_async, unique
from tests.engine.running import read_all

PRODUCE = 0
TOPIC_AUTHORIZATION_FAILED, NOT_LEADER = 29, 6


class Made:
    """An outbox, a topic, and what the outbox gave as its reason to end."""

    def __init__(self, broker: Embedded, topic: str) -> None:
        self.broker, self.topic = broker, topic
        self.reasons: list[str] = []
        self.outbox = Outbox(Settings(bootstrap_servers=broker.bootstrap_servers), self.reasons.append)

    def output(self, number: int, partition: int = 0) -> Output:
        """Return a numbered output."""
        return Output(self.topic, partition, b"key", b"%d" % number, [("n", b"%d" % number)])

    def values(self) -> list[tuple[int, bytes | None]]:
        """Return (partition, value) of what arrived."""
        return [(record.partition, record.value) for record in read_all(self.broker.bootstrap_servers, self.topic)]


@pytest.fixture
async def made(embedded_broker: Callable[..., Embedded]) -> AsyncIterator[Made]:
    topic = unique("outbox")
    one = Made(embedded_broker({topic: 2}), topic)
    one.outbox.start()
    yield one
    await one.outbox.close()


async def test_outputs_leave_in_the_order_they_were_put(made: Made) -> None:
    for start in range(0, 3_000, 100):
        made.outbox.put([made.output(n, n % 2) for n in range(start, start + 100)])
    await made.outbox.drained()
    assert made.outbox.n_waiting == 0
    arrived = made.values()
    for partition in (0, 1):
        assert [value for p, value in arrived if p == partition] == [b"%d" % n for n in range(partition, 3_000, 2)]
    assert made.reasons == []


async def test_key_value_partition_and_headers_arrive(made: Made) -> None:
    offset = await made.outbox.send(Output(made.topic, 1, None, None, [("a", b"1"), ("a", b"2")]))
    record = next(iter(read_all(made.broker.bootstrap_servers, made.topic)))
    assert (record.partition, record.offset, record.key, record.value) == (1, offset, None, None)
    assert record.headers == [("a", b"1"), ("a", b"2")]


async def test_offsets_are_told_once_durable(made: Made) -> None:
    offsets: list[int] = []
    made.outbox.put([made.output(n) for n in range(5)], offsets.append)
    await made.outbox.drained()
    assert offsets == [0, 1, 2, 3, 4]
    assert await made.outbox.send(made.output(5)) == 5


async def test_drained_waits_for_what_was_put_before_it_only(made: Made) -> None:
    made.broker.round_trip(300)
    made.outbox.put([made.output(0)])
    waiting = asyncio.ensure_future(made.outbox.drained())
    await asyncio.sleep(0)
    for n in range(1, 50):
        made.outbox.put([made.output(n)])
        await asyncio.sleep(0.01)
    await asyncio.wait_for(waiting, 10.0)
    made.broker.round_trip(0)
    await made.outbox.drained()


async def test_what_passes_is_sent_again_in_order(made: Made) -> None:
    made.broker.fail_next(PRODUCE, [NOT_LEADER, NOT_LEADER])
    made.outbox.put([made.output(n) for n in range(200)])
    await asyncio.wait_for(made.outbox.drained(), 20.0)
    assert [value for _, value in made.values()] == [b"%d" % n for n in range(200)]
    assert made.reasons == []


async def test_a_broker_that_is_away_is_waited_for(made: Made) -> None:
    await made.outbox.send(made.output(0))
    made.broker.down()
    made.outbox.put([made.output(n) for n in range(1, 20)])
    drained = asyncio.ensure_future(made.outbox.drained())
    assert not (await asyncio.wait([drained], timeout=1.0))[0]
    made.broker.up()
    await asyncio.wait_for(drained, 30.0)
    assert [value for _, value in made.values()] == [b"%d" % n for n in range(20)]


async def test_a_record_that_is_refused_ends_the_process_once(made: Made) -> None:
    made.broker.fail_next(PRODUCE, [TOPIC_AUTHORIZATION_FAILED] * 3)
    made.outbox.put([made.output(0)])
    await eventually_async(lambda: made.reasons)
    with pytest.raises(RuntimeError):
        await made.outbox.drained()
    with pytest.raises(RuntimeError):
        await made.outbox.send(made.output(1))
    assert len(made.reasons) == 1
    assert made.topic in made.reasons[0]


async def test_room_waits_while_too_much_is_on_its_way(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_WAITING", 10)
    made.broker.round_trip(400)
    made.outbox.put([made.output(n) for n in range(30)])
    room = asyncio.ensure_future(made.outbox.room())
    await asyncio.sleep(0)
    assert not room.done()
    made.broker.round_trip(0)
    await asyncio.wait_for(room, 10.0)
    assert made.outbox.n_waiting <= 10
    await made.outbox.drained()


async def test_a_large_record_that_compresses_is_sent(made: Made) -> None:
    await made.outbox.send(Output(made.topic, 0, None, bytes(3_000_000)))
    assert [len(value or b"") for _, value in made.values()] == [3_000_000]


async def test_a_record_larger_than_allowed_ends_the_process(made: Made) -> None:
    made.outbox.put([Output(made.topic, 0, None, bytes(engine.MAX_PLAIN_BYTES + 1))])
    assert made.topic in made.reasons[0]
    assert made.outbox.n_waiting == 0
    with pytest.raises(RuntimeError):
        await made.outbox.drained()


async def test_partitions_of_a_topic_are_known(made: Made) -> None:
    assert made.outbox.partitions(made.topic) == 2
