"""Roles as processes, topics as lists: what engine tests do from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition as AioTopicPartition
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from schemas import alerts, results, topics
from schemas.alerts import Alert
from schemas.control import Effective
from schemas.monitors import Monitor
from schemas.records import PlainRecord
from schemas.results import Result
from streams.catalogue import Catalogue, monitor_record, records_of
from streams.engine.connection import admin
from streams.engine.control import publish
from streams.engine.preflight import planned
from streams.replay.run import Replay
from streams.settings import Settings
from tests.brokers import Broker, eventually
from tests.engine import traffic

PARTITIONS = 2
DIED = -signal.SIGKILL


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Cluster:
    """A broker with our topics, and the roles that run on it."""

    def __init__(self, broker: Broker, folder: Path, **settings: Any) -> None:
        self.broker, self.folder = broker, folder
        self.environment = {
            "DRIFTGAUGE_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "DRIFTGAUGE_PARTITIONS": str(PARTITIONS),
            "DRIFTGAUGE_CHECKPOINT_S": "0.3",
            "DRIFTGAUGE_FLUSH_S": "0.2",
            "DRIFTGAUGE_SESSION_TIMEOUT_S": "3",
            **({"DRIFTGAUGE_EMBEDDED": "true"} if broker.name == "embedded" else {}),
            **{f"DRIFTGAUGE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.settings = Settings(
            bootstrap_servers=broker.bootstrap_servers, partitions=PARTITIONS, checkpoint_s=0.3, session_timeout_s=3.0
        )
        broker.create_topics(planned(self.settings))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._n_started = 0

    def publish_monitor(self, monitor: Monitor) -> None:
        """Publish the first version of a monitor."""
        asyncio.run(publish(self.settings, [monitor_record(monitor)]))

    def publish_baselines(self, models: Sequence[str]) -> None:
        """Publish a baseline and a monitor for each model, effective from the beginning."""
        records = []
        for model in models:
            records += records_of(traffic.baseline(model), 0)
            records.append(monitor_record(traffic.monitor(model)))
        asyncio.run(publish(self.settings, records))

    def produce(self, messages: Sequence[traffic.Message], topic: str = topics.EVENTS.name) -> None:
        """Produce messages to their partitions, in order."""
        producer = Producer({"bootstrap.servers": self.broker.bootstrap_servers, "enable.idempotence": True})
        for message in messages:
            producer.produce(topic, value=message.value, partition=message.partition, headers=message.headers)
            producer.poll(0)
        assert producer.flush(30) == 0

    def start(
        self, role: str, point: str = "never", n: int = 1, *, program: str = "crashing", **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a role that dies at a point; `program` is one of `tests.engine.programs`."""
        self._n_started += 1
        log = open(self.folder / f"{role}-{self._n_started}.log", "wb")  # noqa: SIM115  # the process keeps it
        process = subprocess.Popen(
            [sys.executable, "-m", f"tests.engine.programs.{program}", role, point, str(n)],
            env={**os.environ, **self.environment, "DRIFTGAUGE_METRICS_PORT": str(free_port()), **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        self._processes.append(process)
        return process

    def log(self, role: str) -> str:
        """Return what the newest process of a role has written."""
        newest = max(self.folder.glob(f"{role}-*.log"), key=lambda path: path.stat().st_mtime)
        return newest.read_text()[-4_000:]

    def wait_dead(self, process: subprocess.Popen[bytes], timeout_s: float = 180.0) -> int:
        """Wait until a process has ended and return its code."""
        return process.wait(timeout_s)

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """Ask a process to end and return its code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(20)

    def close(self) -> None:
        """End whatever still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def records(self, topic: str) -> list[PlainRecord]:
        """Return everything a topic holds now."""
        return list(read_all(self.broker.bootstrap_servers, topic))

    def results(self) -> list[Result]:
        """Return every result published."""
        return [results.decode(r.value) for r in self.records(topics.RESULTS.name) if r.value]

    @staticmethod
    def settings_for(broker: Broker) -> Settings:
        """Return the settings the roles of a broker run with."""
        return Settings(
            bootstrap_servers=broker.bootstrap_servers,
            partitions=PARTITIONS,
            checkpoint_s=0.3,
            session_timeout_s=6.0,
            embedded=broker.name == "embedded",
        )

    def catalogue(self) -> Catalogue:
        """Return the baselines and monitors as the control topics have them now."""
        found = Catalogue()
        for topic in (topics.MONITORS, topics.BASELINES):
            for record in self.records(topic.name):
                found.update(record)
        return found

    def alerts(self) -> list[Alert]:
        """Return every state of an alert published."""
        return [alerts.decode(r.value) for r in self.records(topics.ALERTS.name) if r.value]


def committed(cluster: Cluster, role: str, topic: str, partition: int) -> tuple[int, str]:
    """Return the offset and metadata a role's group has committed; (-1, "") before the first commit.

    Through aiokafka: confluent-kafka 2.16 returns metadata damaged.
    """

    async def read() -> tuple[int, str]:
        client = admin(cluster.settings)
        await client.start()
        try:
            place = AioTopicPartition(topic, partition)
            found = await client.list_consumer_group_offsets(f"{cluster.settings.group}-{role}", partitions=[place])
            return int(found[place].offset), str(found[place].metadata)
        finally:
            await client.close()

    return asyncio.run(read())


def read_all(bootstrap_servers: str, topic: str) -> Iterator[PlainRecord]:
    """Yield the records of a topic, partition by partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )
    try:
        for partition in consumer.list_topics(topic, 10).topics[topic].partitions:
            place = TopicPartition(topic, partition)
            first, end = consumer.get_watermark_offsets(place, 10)
            if first == end:
                continue
            consumer.assign([TopicPartition(topic, partition, first)])
            position = first
            while position < end:
                message = consumer.poll(10)
                assert message is not None, f"{topic}/{partition}: nothing at {position} of {end}"
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    break  # the log ends in the mark of a transaction
                assert error is None, error
                position = (message.offset() or 0) + 1
                headers: Any = message.headers() or []
                time_ms = message.timestamp()[1]
                yield PlainRecord(topic, partition, position - 1, time_ms, message.value(), message.key(), headers)
    finally:
        consumer.close()


Key = tuple[str, str, str, int, int]


def newest(made: Sequence[Result]) -> dict[Key, Result]:
    """Return the last revision of each window without what depends on the clock or the run."""
    found: dict[Key, Result] = {}
    for result in made:
        key = (result.model, result.baseline_id, result.slice, result.scale, result.window_start)
        if key not in found or found[key].revision <= result.revision:
            found[key] = _timeless(result)
    return found


def _timeless(result: Result) -> Result:
    from msgspec.structs import replace

    return replace(result, produced_at=0, run_id="")


def nothing(_record: PlainRecord) -> bool:
    """Leave out no record."""
    return False


def expected(
    cluster: Cluster, models: Sequence[str], *, without: Callable[[PlainRecord], bool] = nothing
) -> dict[Key, Result]:
    """Return the last revisions an uninterrupted run gives: the same classes, fed from the topic without the engine."""
    catalogue = Catalogue()
    for model in models:
        catalogue.add_baseline(traffic.baseline(model))
        catalogue.add_effective(Effective(model, f"{model}@1", 0))
        catalogue.add_monitor(traffic.monitor(model))
    run = Replay(catalogue, "expected")
    made: list[Any] = []
    by_partition: dict[int, list[PlainRecord]] = {}
    for record in cluster.records(topics.EVENTS.name):
        if not without(record):
            by_partition.setdefault(record.partition, []).append(record)
    for start in range(0, max(map(len, by_partition.values())), 100):
        for records in by_partition.values():
            if part := records[start : start + 100]:
                made += run.add(part)
        made += run.judge()
    return newest([item for item in made if isinstance(item, Result)])


def eventually_equal(found: Callable[[], Mapping[Key, Result]], wanted: Mapping[Key, Result], timeout_s: float) -> None:
    """Wait until the found results are the wanted ones; at the deadline say where they part."""
    try:
        eventually(lambda: found() == wanted, timeout_s)
    except AssertionError:
        now = found()
        missing = sorted(wanted.keys() - now.keys())[:3]
        extra = sorted(now.keys() - wanted.keys())[:3]
        differ = [key for key in wanted.keys() & now.keys() if wanted[key] != now[key]]
        details = [f"\n{key} {difference(wanted[key], now[key])}" for key in sorted(differ)[:5]]
        raise AssertionError(
            f"{len(now)} of {len(wanted)} windows; missing {missing}, extra {extra}, {len(differ)} differ"
            f"{''.join(details)}"
        ) from None


def difference(wanted: Result, found: Result) -> str:
    """Return the fields in which two results part."""
    pairs = [(field, getattr(wanted, field), getattr(found, field)) for field in Result.__struct_fields__]
    return "; ".join(f"{field}: wanted {str(a)[:300]}, found {str(b)[:300]}" for field, a, b in pairs if a != b)
