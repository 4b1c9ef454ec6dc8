"""Committed positions over time: when everything is read, and how long a take-over took."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.faults.traffic import N_PARTITIONS
from schemas import topics

EVERY_S = 0.2
REQUEST_S = 3.0

Positions = dict[tuple[str, int], int]


class Advance(NamedTuple):
    """A committed position of a partition grew between two looks."""

    partition: int
    after_s: float
    seen_s: float


class Progress:
    """Looks at the committed positions of `detect` on the events topic, in a thread."""

    def __init__(self, bootstrap_servers: str, group: str) -> None:
        self._bootstrap_servers, self._group = bootstrap_servers, group
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._asking: dict[str, Consumer] = {}
        self.advances: list[Advance] = []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(2 * REQUEST_S)

    def _look(self) -> None:
        consumer = self._consumer("detect")
        known: dict[int, int] = {}
        looked = time.monotonic()
        while not self._over.wait(EVERY_S):
            begun = time.monotonic()
            found = _committed(consumer, [topics.EVENTS.name], N_PARTITIONS)
            for (_, partition), offset in found.items():
                if offset > known.get(partition, offset):
                    self.advances.append(Advance(partition, looked, time.monotonic()))
                known[partition] = offset
            if found:
                looked = begun
        consumer.close()

    def _consumer(self, role: str) -> Consumer:
        """Return a client that asks as a role's group; it joins nothing."""
        return Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "broker.address.family": "v4",
                "group.id": f"{self._group}-{role}",
                "enable.auto.commit": False,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    def committed(self, role: str, names: Sequence[str], n_partitions: int) -> Positions:
        """Return what a role has committed; nothing while the broker does not answer."""
        if role not in self._asking:
            self._asking[role] = self._consumer(role)
        return _committed(self._asking[role], names, n_partitions)

    def left(self, inputs: Mapping[str, Sequence[str]], n_partitions: int) -> dict[tuple[str, str, int], int]:
        """Return how many records each role (role to its inputs) still has to read, where there are any."""
        left = {}
        for role, names in inputs.items():
            committed = self.committed(role, names, n_partitions)
            for (topic, partition), end in _ends(self._asking[role], names, n_partitions).items():
                if missing := end - committed.get((topic, partition), 0):
                    left[role, topic, partition] = missing
        return left

    def holds_any(self, topic: str) -> bool:
        """Tell whether a topic has records."""
        if "" not in self._asking:
            self._asking[""] = self._consumer("nobody")
        return bool(_ends(self._asking[""], [topic], N_PARTITIONS))

    def close(self) -> None:
        """Close the connections."""
        self.stop()
        for consumer in self._asking.values():
            consumer.close()
        self._asking.clear()


def _places(names: Sequence[str], n_partitions: int) -> list[TopicPartition]:
    return [TopicPartition(name, partition) for name in names for partition in range(n_partitions)]


def _committed(consumer: Consumer, names: Sequence[str], n_partitions: int) -> Positions:
    try:
        found = consumer.committed(_places(names, n_partitions), REQUEST_S)
    except KafkaException:
        return {}
    return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}


def _ends(consumer: Consumer, names: Sequence[str], n_partitions: int) -> Positions:
    ends: Positions = {}
    for place in _places(names, n_partitions):
        try:
            _, end = consumer.get_watermark_offsets(place, 10)
        except KafkaException:
            end = 1 << 60  # nobody has read that far: ask again
        if end:
            ends[place.topic, place.partition] = end
    return ends


def takeovers(
    advances: Sequence[Advance],
    kills: Sequence[float],
    disturbances: Sequence[float],
    broker_down: Sequence[tuple[float, float]],
) -> list[float]:
    """Return, for each kill, how long the slowest partition stood still.

    Counted from the last of the disturbances (other kills, workers that come or go, sleep or wake) before the
    partition went on; kills around a broker that was down itself are left out. Times are of one clock.
    """
    found = []
    for kill in kills:
        slowest = 0.0
        for partition in {advance.partition for advance in advances}:
            after = [a for a in advances if a.partition == partition and a.after_s > kill]
            if not after:
                continue
            on = after[0].seen_s
            if any(down < on and kill < up + 5.0 for down, up in broker_down):
                slowest = 0.0
                break
            since = max([kill, *(moment for moment in disturbances if kill < moment < on)])
            slowest = max(slowest, on - since)
        if slowest:
            found.append(round(slowest, 2))
    return found
