"""Brokers for tests, one interface over the embedded and the real one, and waiting for a condition."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.embedded.broker import EmbeddedBroker
from tests.kafka.container import ContainerKafka
from tests.kafka.server import JavaKafka, KafkaUnavailable, answers, jars
from tests.real import command, missing

T = TypeVar("T")
DEADLINE_S = 30.0
_RUN = uuid.uuid4().hex[:8]
_numbers = itertools.count(1)


def unique(name: str) -> str:
    """Return `name` with a suffix no other test and no earlier run has, for topics and groups."""
    return f"{name}.{_RUN}.{next(_numbers)}"


def eventually(predicate: Callable[[], T], timeout_s: float = DEADLINE_S, why: str = "") -> T:
    """Return the first true value of `predicate`; AssertionError with the last value at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not (value := predicate()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {why or inspect.getsource(predicate)}; last {value!r}")
        time.sleep(0.02)
    return value


@overload
async def eventually_async(
    predicate: Callable[[], Awaitable[T]], timeout_s: float = DEADLINE_S, why: str = ""
) -> T: ...
@overload
async def eventually_async(predicate: Callable[[], T], timeout_s: float = DEADLINE_S, why: str = "") -> T: ...
async def eventually_async(predicate: Callable[[], Any], timeout_s: float = DEADLINE_S, why: str = "") -> Any:
    """Do what `eventually` does without blocking the event loop; `predicate` may be a coroutine function."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = predicate()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {why or inspect.getsource(predicate)}; last {value!r}")
        await asyncio.sleep(0.02)


class Broker(Protocol):
    """What every broker under test offers; `name` is ``embedded`` or ``kafka``."""

    name: str
    bootstrap_servers: str

    def create_topics(self, topics: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
        """Create topics (name to number of partitions) and return when metadata shows them."""


def wait_for_topics(bootstrap_servers: str, topics: Mapping[str, int]) -> None:
    """Return when metadata shows every topic with its number of partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})

    def shown() -> bool:
        known = admin.list_topics(timeout=10).topics
        return all(name in known and len(known[name].partitions) == count for name, count in topics.items())

    eventually(shown, why=f"topics {dict(topics)} in the metadata of {bootstrap_servers}")


class Embedded:
    """The embedded broker, with its faults as methods."""

    name = "embedded"

    def __init__(self, topics: Mapping[str, int], n_brokers: int = 1) -> None:
        self._broker = EmbeddedBroker(topics, n_brokers=n_brokers)
        self.bootstrap_servers = self._broker.bootstrap_servers
        self.pid = self._broker.pid

    def create_topics(
        self,
        topics: Mapping[str, int],
        config: Mapping[str, str] | None = None,  # noqa: ARG002 - the mock knows no topic settings
    ) -> None:
        """Create topics; `config` has no effect on the embedded broker."""
        self._broker.create_topics(topics)

    def down(self) -> None:
        """Cut every connection and accept no new ones; the records stay."""
        self._broker.command("set_down")

    def up(self) -> None:
        """Accept connections again."""
        self._broker.command("set_up")

    def round_trip(self, rtt_ms: int) -> None:
        """Delay every answer by `rtt_ms` milliseconds."""
        self._broker.command("set_round_trip", rtt_ms=rtt_ms)

    def fail_next(self, api_key: int, errors: Sequence[int]) -> None:
        """Answer the next requests of a kind with these error codes (`MockCluster.push_errors`)."""
        self._broker.command("push_errors", api_key=api_key, errors=list(errors))

    def clear_failures(self, api_key: int) -> None:
        """Forget the errors not answered yet for one kind of request."""
        self._broker.command("clear_errors", api_key=api_key)

    def fail_topic(self, topic: str, error: int) -> None:
        """Answer requests for one topic with an error code; 0 heals it."""
        self._broker.command("set_topic_error", topic=topic, error=error)

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Drop the records of a partition below an offset, as retention would."""
        self._broker.command("delete_records", topic=topic, partition=partition, before_offset=before_offset)

    def close(self) -> None:
        """End the broker's process."""
        self._broker.close()


class Kafka:
    """A real Apache Kafka broker; `kill` and `restart` work unless it is somebody else's."""

    name = "kafka"

    def __init__(self, bootstrap_servers: str, node: JavaKafka | ContainerKafka | None) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._node = node

    @property
    def alive(self) -> bool:
        """Whether the broker runs; one that is somebody else's is taken to."""
        return self._node is None or self._node.alive

    def create_topics(self, topics: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
        """Create topics with topic settings such as ``{"cleanup.policy": "compact"}``."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        wanted = [NewTopic(name, count, 1, config=dict(config or {})) for name, count in topics.items()]
        for future in admin.create_topics(wanted).values():
            future.result(DEADLINE_S)
        wait_for_topics(self.bootstrap_servers, topics)

    def kill(self) -> None:
        """End the broker with SIGKILL; the test has to call `restart` before it ends."""
        self._own().kill()

    def restart(self) -> None:
        """Start the broker again on its port with its data, and wait until it answers."""
        self._own().restart()

    def close(self) -> None:
        """End the broker if it is ours."""
        if self._node is not None:
            self._node.close()

    def _own(self) -> JavaKafka | ContainerKafka:
        if self._node is None:
            pytest.skip("DRIFTGAUGE_TEST_BROKER is somebody else's broker: not killed")
        return self._node


def start_kafka(folder: Path) -> Kafka:
    """Return a real broker: DRIFTGAUGE_TEST_BROKER, else Java and Maven, else Docker, else skip or fail loudly."""
    if address := os.environ.get("DRIFTGAUGE_TEST_BROKER"):
        if not answers(address, 10.0):
            pytest.fail(f"DRIFTGAUGE_TEST_BROKER={address}: no Kafka broker answers there", pytrace=False)
        return Kafka(address, None)
    reasons = []
    java, maven, docker = command("java"), command("mvn"), command("docker")
    try:
        if java and maven:
            node: JavaKafka | ContainerKafka = JavaKafka(folder, jars(maven), java)
            return Kafka(node.bootstrap_servers, node)
        reasons.append("no java and mvn")
    except KafkaUnavailable as failed:
        reasons.append(str(failed))
    try:
        if docker:
            node = ContainerKafka(docker)
            return Kafka(node.bootstrap_servers, node)
        reasons.append("no docker")
    except KafkaUnavailable as failed:
        reasons.append(str(failed))
    return missing(
        "Apache Kafka", f"{'; '.join(reasons)}. Install a Java runtime and Maven, or set DRIFTGAUGE_TEST_BROKER"
    )
