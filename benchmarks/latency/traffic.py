"""Rows of some models at a steady pace: event time runs twelve times faster than the clock on the wall."""

from __future__ import annotations

import time

import msgspec
import numpy as np
import orjson
from confluent_kafka import Producer

from benchmarks.throughput.traffic import NAMES, SEED, SHIFTED, baseline, matrix
from detectors.windows import MINUTE_MS
from schemas import topics
from schemas.baselines import Baseline
from schemas.monitors import Monitor

SPEED = 12
MODELS = tuple(f"latency-{number}" for number in range(6))
MAX_ROWS = 100
BATCH_S = 0.1
CYCLE = 4
SHIFT_SD = 1.0
POOL_ROWS = 200_000
NEVER_S = 86_400.0


def baselines() -> list[Baseline]:
    """Return a baseline of each model: 50,000 rows, windows of one minute."""
    made = baseline()
    return [msgspec.structs.replace(made, model=model, baseline_id=f"{model}@1") for model in MODELS]


def monitors() -> list[Monitor]:
    """Return a monitor of each model with windows of a minute; no source is ever idle."""
    return [Monitor(model=model, monitor_version=1, window="1m", idle_s=NEVER_S) for model in MODELS]


class Traffic:
    """Sends rows to all partitions in turn; each model drifts in one window of four, at other times than the others.

    Parameters
    ----------
    start_ms
        Event time of the first row.
    """

    def __init__(self, bootstrap_servers: str, n_partitions: int, start_ms: int) -> None:
        self._n_partitions = n_partitions
        self._begin(start_ms)
        self.n_rows = 0
        self._n_messages = 0
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "broker.address.family": "v4",
                "linger.ms": 2,
                "queue.buffering.max.messages": 500_000,
            }
        )
        rng = np.random.default_rng(SEED + 2)
        values = matrix(rng, POOL_ROWS)
        shifted = values.copy()
        for name in SHIFTED:
            shifted[NAMES.index(name)] += np.float32(SHIFT_SD)
        self._pools = (values, shifted)

    def _begin(self, start_ms: int) -> None:
        self._start_ms, self._since = start_ms, time.monotonic()
        self._last = {(model, p): start_ms for model in MODELS for p in range(self._n_partitions)}

    def moment(self, event_ms: float) -> float:
        """Return when (monotonic seconds) event time reaches, or has reached, a moment."""
        return self._since + (event_ms - self._start_ms) / 1000 / SPEED

    def burst(self, n_rows: int, over_ms: int) -> None:
        """Send rows as fast as the broker takes them, spread over some event time; the pace then begins after them."""
        n_messages = n_rows // MAX_ROWS
        start = self._start_ms
        for number in range(n_messages):
            self._send(start + over_ms * number // n_messages, MAX_ROWS)
        self.flush()
        self._begin(start + over_ms)

    def pace(self, rows_per_s: float, seconds: float) -> None:
        """Send at a pace for some time, in batches of a tenth of a second a model and partition, as the client does."""
        n_rows = max(1, min(MAX_ROWS, round(rows_per_s * BATCH_S / len(self._last))))
        begun, sent = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < seconds:
            due = int(passed * rows_per_s / n_rows) - sent
            for _ in range(due):
                self._send(self._start_ms + int((time.monotonic() - self._since) * 1000 * SPEED), n_rows)
            sent += due
            self._producer.poll(0.002)

    def _send(self, now_ms: int, n_rows: int) -> None:
        model = MODELS[self._n_messages % len(MODELS)]
        partition = self._n_messages // len(MODELS) % self._n_partitions
        self._n_messages += 1
        last = self._last[model, partition]
        self._last[model, partition] = now_ms
        times = np.linspace(last, now_ms, n_rows, dtype=np.int64)
        drifts = (now_ms // MINUTE_MS + MODELS.index(model)) % CYCLE == 0
        first = self.n_rows % (POOL_ROWS - MAX_ROWS)  # rows that come again and again would be a change themselves
        part = self._pools[int(drifts)][:, first : first + n_rows]
        event = {"model": model, "times": times, "columns": dict(zip(NAMES, part, strict=True))}
        value = orjson.dumps(event, option=orjson.OPT_SERIALIZE_NUMPY)
        while True:
            try:
                self._producer.produce(topics.EVENTS.name, value, partition=partition)
                break
            except BufferError:
                self._producer.poll(0.05)
        self.n_rows += n_rows

    def flush(self) -> None:
        """Wait until everything is delivered."""
        if self._producer.flush(60.0):
            raise TimeoutError("the broker did not take the events within 60 s")
