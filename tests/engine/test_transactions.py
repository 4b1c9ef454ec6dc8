"""Events of a transactional producer: the marks that end transactions are offsets nobody hands over."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import Producer

from schemas import topics
from schemas.records import Record
from streams.replay.topic import records_between
from tests.brokers import Broker
from tests.engine import traffic
from tests.engine.running import Cluster, eventually_equal, expected, newest

pytestmark = pytest.mark.scenario

MODELS = ("alpha",)


def _produce_in_transactions(broker: Broker, messages: list[traffic.Message]) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": "events"})
    producer.init_transactions(30)
    for start in range(0, len(messages), 50):
        producer.begin_transaction()
        for message in messages[start : start + 50]:
            producer.produce(
                topics.EVENTS.name, value=message.value, partition=message.partition, headers=message.headers
            )
        producer.commit_transaction(30)


@pytest.mark.parametrize("cluster", [pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
def test_marks_of_transactions_stall_neither_worker_nor_replay(cluster: Cluster) -> None:
    cluster.publish_baselines(MODELS)
    messages = traffic.messages(MODELS, n_partitions=2, minutes=6)
    half = len(messages) // 2
    _produce_in_transactions(cluster.broker, messages[:half])
    first = cluster.start("detect")
    eventually_equal(lambda: newest(cluster.results()), expected(cluster, MODELS), 60.0)
    assert cluster.stop(first) == 0
    only_one = [message for message in messages[half:] if message.partition == 0]  # the other log ends in a mark
    _produce_in_transactions(cluster.broker, only_one)
    wanted = expected(cluster, MODELS)
    second = cluster.start("detect")
    eventually_equal(lambda: newest(cluster.results()), wanted, 60.0)
    assert cluster.stop(second) == 0

    async def replayed() -> list[Record]:
        rounds = [turn async for turn in records_between(cluster.settings, [topics.EVENTS.name], None, None)]
        return [record for turn in rounds for records in turn for record in records]

    found = asyncio.run(asyncio.wait_for(replayed(), 60))
    assert len(found) == half + len(only_one)
