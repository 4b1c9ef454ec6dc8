"""Reading back what a client sent, and running programs that use one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, TopicPartition

from schemas import events, feedback
from schemas.columns import Batch
from schemas.records import PlainRecord
from tests.brokers import Broker, unique

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"
NOWHERE = "127.0.0.1:9"
"""Nobody listens on the discard port."""


class Line(NamedTuple):
    """A broker with two topics of one test's own."""

    bootstrap_servers: str
    events_topic: str
    feedback_topic: str

    @classmethod
    def on(cls, broker: Broker) -> Line:
        """Make the topics, three partitions each."""
        line = cls(broker.bootstrap_servers, unique("events"), unique("feedback"))
        broker.create_topics({line.events_topic: 3, line.feedback_topic: 3})
        return line

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a Client that sends here."""
        return self._asdict()

    def environment(self) -> dict[str, str]:
        """Return the environment of a program whose client sends here."""
        settings = {f"DRIFTGAUGE_{name.upper()}": value for name, value in self._asdict().items()}
        return {**os.environ, **settings, "PYTHONPATH": f"{ROOT / 'client'}{os.pathsep}{ROOT}"}

    def batches(self) -> list[Batch]:
        """Return the events the topic holds now, as driftgauge's own decoder reads them."""
        decoded = events.decode(self.records(self.events_topic))
        assert not decoded.rejected
        return decoded.batches

    def ids(self) -> list[str | None]:
        """Return the ids of all events, per partition in order."""
        return [one for batch in self.batches() for one in batch.ids or []]

    def feedback(self) -> feedback.FeedbackBatch:
        """Return the feedback the topic holds now, as driftgauge's own decoder reads it."""
        decoded = feedback.decode(self.records(self.feedback_topic))
        assert not decoded.rejected
        return decoded.batch

    def messages(self) -> list[Any]:
        """Return the JSON messages of the events' topic."""
        return [orjson.loads(record.value or b"") for record in self.records(self.events_topic)]

    def records(self, topic: str) -> list[PlainRecord]:
        """Return every record between the ends of the topic's partitions."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "group.id": unique("reader"),
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
        records = []
        try:
            places = [TopicPartition(topic, partition) for partition in range(3)]
            bounds = {place.partition: consumer.get_watermark_offsets(place, timeout=10) for place in places}
            consumer.assign([TopicPartition(topic, number, start) for number, (start, _) in bounds.items()])
            left = {number: end - start for number, (start, end) in bounds.items() if end > start}
            while any(left.values()):
                message = consumer.poll(10)
                assert message is not None, f"{topic} ends before {left} more records"
                assert message.error() is None, message.error()
                left[message.partition() or 0] -= 1
                records.append(_plain(message))
        finally:
            consumer.close()
        records.sort(key=attrgetter("partition", "offset"))
        return records


def _plain(message: Any) -> PlainRecord:
    return PlainRecord(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.value(),
        message.key(),
        message.headers() or (),
    )


def start(program: str, *arguments: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start one of the programs beside this file."""
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS / program), *arguments],
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 30.0) -> tuple[str, str]:
    """Wait for a program's end and return what it wrote; it is killed when it does not end."""
    try:
        return process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"did not end: {process.communicate()}") from None
