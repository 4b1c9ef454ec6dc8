"""Followers read a topic to its end, go on, and say what they missed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from schemas.records import Record
from streams.engine import follow, positions, private
from streams.engine.follow import Follower, newest_records
from streams.engine.outbox import Outbox, Output
from streams.settings import Settings
from tests.brokers import Embedded, eventually_async, unique
from tests.engine.running import Cluster


class Topic:
    """A topic of a test's own."""

    def __init__(self, broker: Embedded, name: str) -> None:
        self.broker, self.name = broker, name
        self.settings: Settings = Cluster.settings_for(broker)
        self.failures: list[str] = []
        self.outbox = Outbox(self.settings, self.failures.append)
        self.heard: list[bytes | None] = []

    async def send(self, *numbers: int, partition: int = 0) -> None:
        """Append numbered records."""
        self.outbox.put([Output(self.name, partition, None, b"%d" % n) for n in numbers])
        await self.outbox.drained()

    def hear(self, record: Record) -> None:
        """Take a record."""
        self.heard.append(record.value)

    def follower(self, **options: bool) -> Follower:
        """Return a follower of the topic."""
        return Follower(self.settings, [self.name], self.hear, on_failure=self.failures.append, **options)


@pytest.fixture
async def topic(embedded_broker: Callable[..., Embedded]) -> AsyncIterator[Topic]:
    name = unique("followed")
    one = Topic(embedded_broker({name: 2}), name)
    one.outbox.start()
    yield one
    await one.outbox.close()


async def test_everything_there_is_read_before_start_returns(topic: Topic) -> None:
    await topic.send(*range(500))
    await topic.send(*range(500, 600), partition=1)
    follower = topic.follower()
    await follower.start()
    assert sorted(map(int, filter(None, topic.heard))) == list(range(600))
    await follower.stop()


async def test_what_comes_later_is_followed(topic: Topic) -> None:
    follower = topic.follower()
    await follower.start()
    assert topic.heard == []
    await topic.send(1, 2)
    await topic.send(3, partition=1)
    await eventually_async(lambda: sorted(map(int, filter(None, topic.heard))) == [1, 2, 3])
    await follower.stop()
    await topic.send(4)
    assert len(topic.heard) == 3


async def test_from_the_end_the_past_is_not_read(topic: Topic) -> None:
    await topic.send(1, 2)
    follower = topic.follower(from_end=True)
    await follower.start()
    await topic.send(3)
    await eventually_async(lambda: topic.heard == [b"3"])
    await follower.stop()


async def test_a_record_that_cannot_be_taken_is_told(topic: Topic) -> None:
    def refuse(record: Record) -> None:
        raise ValueError(f"bad record at {record.offset}")

    follower = Follower(topic.settings, [topic.name], refuse, on_failure=topic.failures.append)
    await follower.start()
    await topic.send(1)
    await eventually_async(lambda: topic.failures)
    assert "bad record at 0" in topic.failures[0]
    assert topic.name in topic.failures[0]
    await follower.stop()


async def test_a_record_that_cannot_be_taken_at_the_start_is_raised(topic: Topic) -> None:
    await topic.send(1)

    def refuse(_record: Record) -> None:
        raise ValueError("bad record")

    follower = Follower(topic.settings, [topic.name], refuse, on_failure=topic.failures.append)
    with pytest.raises(ValueError, match="bad record"):
        await follower.start()
    await follower.stop()


async def test_a_broker_that_was_away_is_followed_again(topic: Topic) -> None:
    follower = topic.follower()
    await follower.start()
    await topic.send(1)
    await eventually_async(lambda: len(topic.heard) == 1)
    topic.broker.down()
    topic.broker.up()
    await topic.send(2)
    await eventually_async(lambda: topic.heard == [b"1", b"2"])
    assert topic.failures == []
    await follower.stop()


async def test_records_deleted_before_they_were_read_are_counted(
    topic: Topic, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topic.send(*range(10))
    asked = []

    async def bounds(consumer: Any, place: Any) -> tuple[int, int]:
        first, end = await positions.bounds(consumer, place)
        asked.append(place)
        if len(asked) == 2:  # both partitions were asked: only now the records go
            topic.broker.delete_records(topic.name, 0, 4)
        return first, end

    monkeypatch.setattr(follow, "bounds", bounds)
    follower = topic.follower()
    await follower.start()
    assert topic.heard == [b"%d" % n for n in range(4, 10)]
    assert f"{topic.name}/0: 4 records were deleted before they were read" in caplog.text
    await follower.stop()


async def test_topics_that_do_not_exist_are_named(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    async def as_a_broker_that_makes_no_topics(*_args: Any) -> None:
        pass

    monkeypatch.setattr(follow, "METADATA_TIMEOUT_S", 0.5)
    monkeypatch.setattr(private, "refresh_metadata", as_a_broker_that_makes_no_topics)
    follower = Follower(topic.settings, ["none.v1"], topic.hear, on_failure=topic.failures.append)
    with pytest.raises(TimeoutError, match=r"none\.v1 do not exist.*driftgauge topics create"):
        await follower.start()
    await follower.stop()


@pytest.mark.parametrize(("limit", "wanted"), [(3, [9, 8, 7]), (100, list(range(9, -1, -1)))])
async def test_the_newest_records_are_found_backwards(topic: Topic, limit: int, wanted: list[int]) -> None:
    for number in range(10):
        await topic.send(number, partition=0)
    assert [int(record.value or b"") for record in await newest_records(topic.settings, topic.name, limit)] == wanted


async def test_the_newest_that_are_wanted_are_found_far_back(topic: Topic) -> None:
    await topic.send(1, 1, *([0] * 300))
    await topic.send(1, *([0] * 50), partition=1)
    found = await newest_records(topic.settings, topic.name, 3, lambda record: record.value == b"1")
    assert {(record.partition, record.offset) for record in found} == {(0, 0), (0, 1), (1, 0)}


async def test_an_empty_topic_has_no_newest_records(topic: Topic) -> None:
    assert await newest_records(topic.settings, topic.name, 5) == []
