"""The events of one seed, sent while everything falls over, and what they truly hold."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import orjson
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.faults.schedule import KNOWN, LEARNED, MODELS, Fault
from schemas import topics
from schemas.spans import PROTOBUF
from tests.engine.traffic import MINUTE_MS, START_MS, columns
from tests.schemas.otlp import request, span

N_PARTITIONS = 4
WINDOW_S = 2.0
SLOTS = 4
SLOT_S = WINDOW_S / SLOTS
SLOT_MS = MINUTE_MS // SLOTS
SINGLE, BATCH, LEARNED_BATCH = 4, 8, 40
HOUR_MS = 3_600_000
BROKEN = (
    b"{not json", b'{"model":"x"}', b"\xff\xff\xff\xff\x00", b"[]", b'{"model":"alpha","features":{"age":1}}',
    b'{"model":"alpha","time":"yesterday","features":{"age":1}}',
)  # fmt: skip

Place = tuple[str, int, int]


class Rows(NamedTuple):
    """What a message truly holds: rows of a model by event time; whether it makes a dead letter; ids of predictions."""

    model: str = ""
    times: Sequence[int] = ()
    ids: Sequence[str] = ()
    broken: bool = False


class Truth:
    """What the broker has taken."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, int]] = Counter()
        self.broken: set[Place] = set()
        self.ids: set[tuple[str, str, int, int]] = set()
        self.spans: set[str] = set()
        self.n_messages = 0
        self.n_failed = 0

    def take(self, rows: Rows, error: KafkaError | None, message: Message) -> None:
        """Count what was delivered; called by the producer."""
        if error is not None:
            self.n_failed += 1
            return
        self.n_messages += 1
        topic, partition, offset = str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)
        if rows.broken:
            self.broken.add((topic, partition, offset))
        if topic == topics.SPANS.name:
            self.spans.update(rows.ids)
            return
        for moment in rows.times:
            self.rows[rows.model, moment - moment % MINUTE_MS] += 1
        self.ids.update((rows.model, identity, partition, offset) for identity in rows.ids)


class Traffic:
    """Sends the rows of a seed, a quarter of an event minute at a time.

    Event time runs thirty times faster than the clock on the wall, so that a minute of faults meets thirty
    windows. `alpha` and `beta` have baselines and drift now and then; `gamma` is learned on the way.
    """

    def __init__(self, bootstrap_servers: str, seed: int) -> None:
        self.truth = Truth()
        self.slot = 0
        self._rng = np.random.default_rng([seed, 2])
        self._sent: dict[int, list[tuple[bytes, Rows]]] = {p: [] for p in range(N_PARTITIONS)}
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "broker.address.family": "v4",
                "enable.idempotence": True,
                "linger.ms": 5,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    @property
    def now_ms(self) -> int:
        """Event time of the next slot."""
        return START_MS + self.slot * SLOT_MS

    def send_slot(self) -> None:
        """Send what happens in the next quarter of an event minute."""
        for partition in range(N_PARTITIONS):
            for value, rows in self._slot_of(partition):
                self._send(topics.EVENTS.name, partition, value, rows)
                self._sent[partition] = [*self._sent[partition][-30:], (value, rows)]
        name = f"span-{self.slot}"
        made = request(span(self.slot + 1, name=name)).SerializeToString()
        self._send(topics.SPANS.name, self.slot % N_PARTITIONS, made, Rows(ids=[name]), [("content-type", PROTOBUF)])
        self.slot += 1

    def _slot_of(self, partition: int) -> Iterator[tuple[bytes, Rows]]:
        minute = self.slot // SLOTS
        for model in KNOWN:
            drifts = (minute // 8) % 2 == 1 if model == "alpha" else (minute // 5) % 3 == 1
            times = self._times(SINGLE + BATCH)
            values = columns(self._rng, SINGLE + BATCH, 1.0 if drifts else 0.0)
            for i in range(SINGLE):
                identity = f"{model}-{self.slot}-{partition}-{i}"
                features = {name: column[i] for name, column in values.items()}
                event = {"model": model, "version": "1", "time": times[i], "features": features}
                yield (
                    orjson.dumps({**event, "id": identity, "prediction": round(self._rng.random(), 6)}),
                    Rows(model, [times[i]], [identity]),
                )
            rest = {name: column[SINGLE:] for name, column in values.items()}
            batch = {"model": model, "version": "2", "times": times[SINGLE:], "columns": rest}
            yield orjson.dumps(batch), Rows(model, times[SINGLE:])
        times = self._times(LEARNED_BATCH, disorder=0.0)
        learned = {"model": LEARNED, "times": times, "columns": columns(self._rng, LEARNED_BATCH, 0.0)}
        yield orjson.dumps(learned), Rows(LEARNED, times)

    def _times(self, n_rows: int, disorder: float = 0.1) -> list[int]:
        times = self.now_ms + np.sort(self._rng.integers(0, SLOT_MS, n_rows))
        times[self._rng.random(n_rows) < disorder] -= 45_000
        times[self._rng.random(n_rows) < disorder / 5] -= 5 * MINUTE_MS
        return [int(moment) for moment in times]

    def disturb(self, fault: Fault) -> None:
        """Send what a producer's own faults send: broken messages, wrong clocks, repetitions."""
        for _ in range(fault.n):
            partition = int(self._rng.integers(0, N_PARTITIONS))
            if fault.kind == "malformed":
                value = BROKEN[int(self._rng.integers(0, len(BROKEN)))]
                if self._rng.random() < 0.05:
                    self._send(topics.SPANS.name, partition, b"\xff\xfe", Rows(broken=True))
                else:
                    self._send(topics.EVENTS.name, partition, value, Rows(broken=True))
            elif fault.kind == "clocks":
                self._send_wrong_clock(partition)
            elif self._sent[partition]:
                index = int(self._rng.integers(0, len(self._sent[partition])))
                self._send(topics.EVENTS.name, partition, *self._sent[partition][index])

    def _send_wrong_clock(self, partition: int) -> None:
        """Half of a batch hours ahead of the clock on the wall, or all of it hours behind."""
        model = str(self._rng.choice(MODELS))
        times = self._times(6, disorder=0.0)
        if ahead := bool(self._rng.random() < 0.5):
            wrong = int(time.time() * 1000) + int(self._rng.integers(2, 9)) * HOUR_MS
            sent, kept = [*times[:3], wrong, wrong + 1, wrong + 2], times[:3]
        else:
            sent = [moment - int(self._rng.integers(3, 9)) * HOUR_MS for moment in times]
            kept = sent
        value = orjson.dumps({"model": model, "times": sent, "columns": columns(self._rng, 6, 0.0)})
        self._send(topics.EVENTS.name, partition, value, Rows(model, kept, broken=ahead))

    def close_windows(self) -> None:
        """Send a row of each model to each partition that passes every window before it."""
        end = START_MS + (self.slot // SLOTS + 4) * MINUTE_MS
        for partition in range(N_PARTITIONS):
            for model in MODELS:
                event = {"model": model, "time": end, "features": {"age": 40.0}}
                self._send(topics.EVENTS.name, partition, orjson.dumps(event), Rows(model, [end]))

    def command(self, partition: int, key: str, value: bytes) -> None:
        """Send a command to the judge."""
        self._producer.produce(topics.EVIDENCE.name, value=value, key=key, partition=partition)

    def poll(self) -> None:
        """Let the producer tell what was delivered."""
        self._producer.poll(0)

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is delivered; return how much is not."""
        return int(self._producer.flush(timeout_s))

    def _send(self, topic: str, partition: int, value: bytes, rows: Rows, headers: Any = None) -> None:
        self._producer.produce(
            topic, value=value, partition=partition, headers=headers or [], on_delivery=partial(self.truth.take, rows)
        )
