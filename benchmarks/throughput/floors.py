"""Plain consumers of the same topic: what the broker, the decoders and scipy allow by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from confluent_kafka import Consumer, Message, TopicPartition
from scipy.stats import ks_2samp

from benchmarks.throughput.traffic import NAMES, REFERENCE_ROWS, SEED, Encoding, Traffic, matrix
from benchmarks.throughput.watched import BenchmarkError
from detectors.windows import MINUTE_MS
from schemas import topics

AT_LEAST_S = 1.5
MAX_PASSES = 8
TIMEOUT_S = 300.0

Handle = Callable[[Sequence[Message]], object]


def _consumer(bootstrap_servers: str, n_partitions: int) -> Consumer:
    # Without the two queue settings librdkafka pauses between fetches: up to 2.5 times too slow.
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "broker.address.family": "v4",
            "group.id": "benchmark-floor",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 1,
            "queued.min.messages": 1_000_000,
        }
    )
    consumer.assign([TopicPartition(topics.EVENTS.name, partition, 0) for partition in range(n_partitions)])
    return consumer


def rate(bootstrap_servers: str, traffic: Traffic, handle: Handle, at_least_s: float = AT_LEAST_S) -> float:
    """Return rows a second of a consumer that hands all messages of the topic to `handle`.

    Counted from the first batch it gets; repeated until the time measured is worth it.
    """
    n_rows, seconds = 0, 0.0
    for _ in range(MAX_PASSES):
        rows, took = _one_pass(bootstrap_servers, traffic, handle)
        n_rows, seconds = n_rows + rows, seconds + took
        if seconds >= at_least_s:
            break
    return n_rows / seconds


def _one_pass(bootstrap_servers: str, traffic: Traffic, handle: Handle) -> tuple[int, float]:
    consumer = _consumer(bootstrap_servers, traffic.n_partitions)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        first: list[Message] = []
        while not first:
            first = consumer.consume(1, 1.0)
            if time.monotonic() > deadline:
                raise BenchmarkError(f"the consumer got nothing in {TIMEOUT_S:.0f} s")
        n_messages, started = len(first), time.monotonic()
        handle(first)
        while n_messages < traffic.n_messages:
            messages = consumer.consume(min(1000, traffic.n_messages - n_messages), 1.0)
            if failed := next((message.error() for message in messages if message.error()), None):
                raise BenchmarkError(str(failed))
            handle(messages)
            n_messages += len(messages)
            if n_messages < traffic.n_messages and time.monotonic() > deadline:
                raise BenchmarkError(f"{n_messages} of {traffic.n_messages} messages in {TIMEOUT_S:.0f} s")
        return n_messages * traffic.rows_per_message, time.monotonic() - started
    finally:
        consumer.close()


def drop(messages: Sequence[Message]) -> None:
    """Do nothing: what polling alone costs."""
    del messages


def decoder(encoding: Encoding) -> Handle:
    """Return what decodes messages and drops them."""
    if encoding == "arrow":
        return lambda messages: [pa.ipc.open_stream(message.value()).read_all() for message in messages]
    return lambda messages: [orjson.loads(message.value() or b"") for message in messages]


class ScipyPerWindow:
    """scipy's `ks_2samp` of every feature at the end of each minute, as a plain consumer would do it."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._reference = matrix(np.random.default_rng(SEED), REFERENCE_ROWS)
        self._columns: list[list[Any]] = [[] for _ in NAMES]
        self._window = 0
        self.n_tests = 0

    def __call__(self, messages: Sequence[Message]) -> None:
        """Gather values by window and test a window when the first message of the next one comes."""
        for message in messages:
            moment, columns = self._decoded(message.value() or b"")
            window = moment // MINUTE_MS
            if window > self._window:
                self._test()
                self._window = window
            for gathered, values in zip(self._columns, columns, strict=True):
                gathered.append(values)

    def _decoded(self, value: bytes) -> tuple[int, list[Any]]:
        if self._encoding == "arrow":
            table = pa.ipc.open_stream(value).read_all()
            return table["time"][0].as_py(), [table[f"feature.{name}"].to_numpy() for name in NAMES]
        message = orjson.loads(value)
        if self._encoding == "columns":
            return int(message["times"][0]), [np.array(message["columns"][name]) for name in NAMES]
        return int(message["time"]), [[message["features"][name]] for name in NAMES]

    def _test(self) -> None:
        for reference, gathered in zip(self._reference, self._columns, strict=True):
            if gathered:
                ks_2samp(reference, np.concatenate(gathered))
                self.n_tests += 1
                gathered.clear()
