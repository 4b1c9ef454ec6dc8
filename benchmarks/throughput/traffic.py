"""The events: 20 numeric features of one model, two of which shift half-way, in three encodings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from confluent_kafka import Producer
from numpy.typing import NDArray

from detectors.reference import build_baseline
from detectors.windows import MINUTE_MS
from schemas import topics
from schemas.baselines import Baseline
from schemas.columns import Column
from schemas.events import ARROW
from schemas.monitors import Monitor

MODEL = "throughput"
N_FEATURES = 20
SHIFTED = ("f3", "f11")
LOGNORMAL = 14
SHIFT_SD = 0.5
N_WINDOWS = 12
POOL_BLOCKS = 16
BLOCK_ROWS = 1_000
REFERENCE_ROWS = 50_000
REFERENCE_MS = 250 * MINUTE_MS
SEED = 20_260_301

Encoding = Literal["arrow", "columns", "single"]
ENCODINGS: tuple[Encoding, ...] = ("arrow", "columns", "single")
Matrix = NDArray[np.float32]
Times = NDArray[np.int64]


class Message(NamedTuple):
    """One record to be produced: its rows are `first_row` and those after it."""

    first_row: int
    n_rows: int
    value: bytes


def names(n_features: int = N_FEATURES) -> tuple[str, ...]:
    """Return the features' names."""
    return tuple(f"f{number}" for number in range(n_features))


NAMES = names()


def matrix(rng: np.random.Generator, n_rows: int, n_features: int = N_FEATURES) -> Matrix:
    """Return rows as columns, shape (features, n_rows): of 20 features 14 normal, 6 lognormal, three decimals."""
    values = rng.standard_normal((n_features, n_rows))
    skewed = np.arange(n_features) % N_FEATURES >= LOGNORMAL
    values[skewed] = np.exp(values[skewed] / 2)
    return np.round(values, 3).astype(np.float32)


def baseline(n_features: int = N_FEATURES) -> Baseline:
    """Return the baseline: 50,000 rows over 250 minutes, windows of one minute."""
    values = matrix(np.random.default_rng(SEED), REFERENCE_ROWS, n_features)
    return build_baseline(
        {name: Column(column) for name, column in zip(names(n_features), values, strict=True)},
        np.linspace(0, REFERENCE_MS, REFERENCE_ROWS, endpoint=False).astype(np.int64),
        baseline_id=f"{MODEL}@1",
        model=MODEL,
        monitor=Monitor(MODEL, window="1m"),
        source="benchmark",
        created_ms=0,
    )


class Traffic:
    """Rows at a steady pace over 12 minutes of event time that end now, so 12 windows close.

    Parameters
    ----------
    n_rows
        A multiple of 1,000.
    """

    def __init__(
        self, encoding: Encoding, n_rows: int, n_partitions: int, now_ms: int, n_features: int = N_FEATURES
    ) -> None:
        self.encoding, self.n_rows, self.n_partitions, self.n_features = encoding, n_rows, n_partitions, n_features
        self.rows_per_message = 1 if encoding == "single" else BLOCK_ROWS
        self.n_messages = n_rows // self.rows_per_message
        start_ms = (now_ms // MINUTE_MS - N_WINDOWS) * MINUTE_MS
        self._times: Times = start_ms + np.arange(n_rows, dtype=np.int64) * (N_WINDOWS * MINUTE_MS) // n_rows
        self.shift_ms = start_ms + N_WINDOWS // 2 * MINUTE_MS
        self.n_bytes = 0

    def windows(self) -> dict[int, int]:
        """Return the rows of every window that all partitions pass: start in epoch ms → rows."""
        ends = [self.n_rows - 1 - partition * self.rows_per_message for partition in range(self.n_partitions)]
        watermark = int(self._times[max(0, min(ends))])
        starts, counts = np.unique(self._times // MINUTE_MS * MINUTE_MS, return_counts=True)
        return {int(s): int(n) for s, n in zip(starts, counts, strict=True) if s + MINUTE_MS <= watermark}

    def send(self, bootstrap_servers: str) -> float:
        """Produce everything, message after message over the partitions; return the seconds it took."""
        producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "broker.address.family": "v4",
                "linger.ms": 20,
                "batch.size": 900_000,
                "queue.buffering.max.kbytes": 128 * 1024,
                "queue.buffering.max.messages": 500_000,
            }
        )
        headers: list[tuple[str, str | bytes | None]] = [("content-type", ARROW)] if self.encoding == "arrow" else []
        started = time.monotonic()
        for number, message in enumerate(self.messages()):
            self.n_bytes += len(message.value)
            while True:
                try:
                    producer.produce(
                        topics.EVENTS.name,
                        message.value,
                        partition=number % self.n_partitions,
                        timestamp=self.timestamp(message),
                        headers=headers,
                    )
                    break
                except BufferError:
                    producer.poll(0.05)
            if not number % 500:
                producer.poll(0)
        if producer.flush(60.0):
            raise TimeoutError("the broker did not take the events within 60 s")
        return time.monotonic() - started

    def timestamp(self, message: Message) -> int:
        """Return the Kafka timestamp of a message: the event time of its last row."""
        return int(self._times[message.first_row + message.n_rows - 1])

    def messages(self) -> Iterator[Message]:
        """Yield the messages in order of event time."""
        rng = np.random.default_rng(SEED + 1)
        before = matrix(rng, POOL_BLOCKS * BLOCK_ROWS, self.n_features)
        after = before.copy()
        for name in SHIFTED:
            after[NAMES.index(name)] = np.round(after[NAMES.index(name)].astype(np.float64) + SHIFT_SD, 3)
        encode = {"arrow": _arrow, "columns": _columns, "single": _single}[self.encoding]
        yield from encode(self._times, self.shift_ms, np.stack([before, after]))


def _blocks(times: Times, shift_ms: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first row, pool, block of the pool): a block of the pool for each 1,000 rows."""
    for number, first in enumerate(range(0, len(times), BLOCK_ROWS)):
        yield first, int(times[first] >= shift_ms), number % POOL_BLOCKS


def _part(values: Matrix, block: int) -> Matrix:
    part: Matrix = np.ascontiguousarray(values[:, block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS])
    return part


def _arrow(times: Times, shift_ms: int, pools: Matrix) -> Iterator[Message]:
    fields = [("time", pa.int64()), *((f"feature.{name}", pa.float32()) for name in names(pools.shape[1]))]
    schema = pa.schema(fields, metadata={"model": MODEL, "version": "1"})
    ready = [[list(map(pa.array, _part(pool, block))) for block in range(POOL_BLOCKS)] for pool in pools]
    for first, pool, block in _blocks(times, shift_ms):
        moments = pa.array(times[first : first + BLOCK_ROWS])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.record_batch([moments, *ready[pool][block]], schema=schema))
        yield Message(first, BLOCK_ROWS, sink.getvalue().to_pybytes())


def _columns(times: Times, shift_ms: int, pools: Matrix) -> Iterator[Message]:
    ready = [
        [orjson.dumps(dict(zip(NAMES, map(_plain, _part(pool, block)), strict=True))) for block in range(POOL_BLOCKS)]
        for pool in pools
    ]
    for first, pool, block in _blocks(times, shift_ms):
        moments = orjson.dumps(times[first : first + BLOCK_ROWS].tolist())
        value = b'{"model":"%b","version":"1","times":%b,"columns":%b}' % (MODEL.encode(), moments, ready[pool][block])
        yield Message(first, BLOCK_ROWS, value)


def _single(times: Times, shift_ms: int, pools: Matrix) -> Iterator[Message]:
    ready = [
        [orjson.dumps(dict(zip(NAMES, row, strict=True))) for row in zip(*map(_plain, pool), strict=True)]
        for pool in pools
    ]
    for first, pool, block in _blocks(times, shift_ms):
        start = block * BLOCK_ROWS
        pairs = zip(times[first : first + BLOCK_ROWS].tolist(), ready[pool][start : start + BLOCK_ROWS], strict=True)
        for row, (moment, features) in enumerate(pairs, first):
            value = b'{"model":"%b","version":"1","time":%d,"features":%b}' % (MODEL.encode(), moment, features)
            yield Message(row, 1, value)


def _plain(column: Matrix) -> list[float]:
    """Return float32 values as the shortest decimals a service would send."""
    return [round(value, 3) for value in column.tolist()]
