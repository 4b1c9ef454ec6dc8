"""The brokers the tests stand on do what their users rely on."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as AIOPartition
from aiokafka.errors import OffsetOutOfRangeError
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.embedded.broker import EmbeddedBroker, EmbeddedBrokerError
from tests.brokers import Broker, Embedded, Kafka, eventually, eventually_async, unique

PRODUCE = 0
MESSAGE_TOO_LARGE = 10


def send(bootstrap_servers: str, topic: str, n_records: int, partition: int = 0, size_bytes: int = 10) -> None:
    """Send records to one partition and return when every one is acknowledged."""
    errors: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 5, "log_level": 0})
    for _ in range(n_records):
        producer.produce(
            topic, b"x" * size_bytes, partition=partition, on_delivery=lambda error, _: errors.append(error)
        )
        producer.poll(0)
    assert producer.flush(30) == 0
    assert errors == [None] * n_records


def watermarks(bootstrap_servers: str, topic: str, partition: int = 0) -> tuple[int, int]:
    """Return the first offset kept and the next one to be written."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": unique("watermarks"), "log_level": 0})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        return low, high
    finally:
        consumer.close()


def runs(pid: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_topics_have_exactly_their_partitions(broker: Broker) -> None:
    one, seven = unique("one"), unique("seven")
    broker.create_topics({one: 1, seven: 7})
    topics = AdminClient({"bootstrap.servers": broker.bootstrap_servers}).list_topics(timeout=10).topics
    assert {name: len(topics[name].partitions) for name in (one, seven)} == {one: 1, seven: 7}


def test_records_are_kept_in_order(broker: Broker) -> None:
    topic = unique("kept")
    broker.create_topics({topic: 2})
    send(broker.bootstrap_servers, topic, 100, partition=1)
    assert watermarks(broker.bootstrap_servers, topic, 1) == (0, 100)
    assert watermarks(broker.bootstrap_servers, topic, 0) == (0, 0)


def test_every_address_is_loopback(broker: Broker) -> None:
    brokers = AdminClient({"bootstrap.servers": broker.bootstrap_servers}).list_topics(timeout=10).brokers
    assert {member.host for member in brokers.values()} == {"127.0.0.1"}


def test_real_kafka_creates_no_topic_by_itself(kafka: Kafka) -> None:
    topic = unique("never-made")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "message.timeout.ms": 1500, "log_level": 0})
    producer.produce(topic, b"x", on_delivery=lambda *_: None)
    producer.flush(10)
    assert topic not in AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=10).topics


def test_killed_kafka_comes_back_with_its_records(kafka: Kafka) -> None:
    topic = unique("survives")
    kafka.create_topics({topic: 1})
    send(kafka.bootstrap_servers, topic, 10)
    kafka.kill()
    try:
        assert not kafka.alive
    finally:
        kafka.restart()

    def held() -> tuple[int, int] | None:
        with contextlib.suppress(KafkaException):  # the partition has no leader for a moment
            return watermarks(kafka.bootstrap_servers, topic)
        return None

    assert eventually(held) == (0, 10)


def test_embedded_broker_that_is_down_takes_nothing_and_up_again_has_its_records(
    embedded_broker: Callable[[Mapping[str, int]], Embedded],
) -> None:
    broker = embedded_broker({"t": 1})
    send(broker.bootstrap_servers, "t", 5)
    broker.down()
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0}).list_topics(timeout=0.5)
    broker.up()
    assert watermarks(broker.bootstrap_servers, "t") == (0, 5)


def test_embedded_broker_answers_with_the_errors_it_is_told(
    embedded_broker: Callable[[Mapping[str, int]], Embedded],
) -> None:
    broker = embedded_broker({"t": 1})
    outcome: list[int] = []
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "retries": 0, "log_level": 0})
    broker.fail_next(PRODUCE, [MESSAGE_TOO_LARGE])
    producer.produce("t", b"x", on_delivery=lambda error, _: outcome.append(error.code() if error else 0))
    producer.flush(10)
    producer.produce("t", b"x", on_delivery=lambda error, _: outcome.append(error.code() if error else 0))
    producer.flush(10)
    assert outcome == [MESSAGE_TOO_LARGE, 0]


def test_embedded_broker_drops_records_below_an_offset(
    embedded_broker: Callable[[Mapping[str, int]], Embedded],
) -> None:
    broker = embedded_broker({"t": 1})
    send(broker.bootstrap_servers, "t", 20)
    broker.delete_records("t", 0, 15)
    assert watermarks(broker.bootstrap_servers, "t") == (15, 20)


def test_embedded_broker_keeps_about_five_megabytes_of_a_partition(
    embedded_broker: Callable[[Mapping[str, int]], Embedded],
) -> None:
    broker = embedded_broker({"t": 1})
    for _ in range(8):
        send(broker.bootstrap_servers, "t", 10, size_bytes=100_000)
    low, high = watermarks(broker.bootstrap_servers, "t")
    assert high == 80
    assert 4_000_000 <= (high - low) * 100_000 <= 6_000_000


async def test_embedded_broker_refuses_a_position_below_what_it_keeps(
    embedded_broker: Callable[[Mapping[str, int]], Embedded],
) -> None:
    broker = embedded_broker({"t": 1})
    send(broker.bootstrap_servers, "t", 20)
    broker.delete_records("t", 0, 15)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="none")
    partition = AIOPartition("t", 0)
    await consumer.start()
    try:
        consumer.assign([partition])
        consumer.seek(partition, 14)
        with pytest.raises(OffsetOutOfRangeError):
            await consumer.getone()
    finally:
        await consumer.stop()


def test_broker_by_hand_says_one_line_when_ready_and_ends_well_at_sigterm() -> None:
    command = [sys.executable, "-m", "streams.embedded.broker", "--topics", "a:2,b.v1:3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["bootstrap_servers"]
        topics = AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=10).topics
        process.terminate()
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
    assert {name: len(topic.partitions) for name, topic in topics.items()} == {"a": 2, "b.v1": 3}


@pytest.mark.parametrize("text", ["a", "a:", ":1", "a:0", "a:x"])
def test_broker_by_hand_names_the_topic_it_cannot_read(text: str) -> None:
    command = [sys.executable, "-m", "streams.embedded.broker", "--topics", f"good:1,{text}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert f"{text!r} is not name:partitions" in done.stderr


def test_embedded_broker_ends_when_its_parent_is_killed() -> None:
    program = (
        "import sys; from streams.embedded.broker import EmbeddedBroker as Broker\n"
        "broker = Broker({}); print(broker.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        broker = int(parent.stdout.readline())
        assert runs(broker)
        parent.kill()
    assert eventually(lambda: not runs(broker))


def test_embedded_broker_names_what_it_refused() -> None:
    with EmbeddedBroker({"t": 1}) as broker:
        with pytest.raises(EmbeddedBrokerError, match="topic 't' with 2 partitions"):
            broker.create_topics({"t": 2})
        with pytest.raises(EmbeddedBrokerError, match="unknown command 'close'"):
            broker.command("close")


def test_ended_embedded_broker_says_so() -> None:
    broker = EmbeddedBroker({})
    broker.close()
    broker.close()
    with pytest.raises(EmbeddedBrokerError, match="has ended"):
        broker.create_topics({"t": 1})


def test_eventually_names_the_condition_and_its_last_value() -> None:
    with pytest.raises(AssertionError, match="the queue to empty; last 0"):
        eventually(lambda: 0, 0.05, why="the queue to empty")


async def test_eventually_async_takes_functions_and_coroutine_functions() -> None:
    values = iter([0, 0, 7])

    async def value() -> int:
        return next(values)

    assert await eventually_async(value) == 7
    assert await eventually_async(lambda: "now") == "now"
