"""Many models that are alike but for their names, and their rows of three windows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import msgspec
import numpy as np
import orjson
from confluent_kafka import Producer

from detectors.reference import build_baseline
from detectors.windows import MINUTE_MS
from schemas import topics
from schemas.baselines import Baseline
from schemas.codec import partition_of
from schemas.columns import Column
from schemas.monitors import Monitor
from streams.catalogue import records_of
from streams.engine.control import publish
from streams.settings import Settings

N_WINDOWS = 3
REFERENCE_ROWS = 10_000
POOL = 64
SEED = 20_260_302
PUBLISHED_AT_ONCE = 20


class Fleet:
    """Models of numeric features, windows of one minute.

    Parameters
    ----------
    spread
        Rows of a model go to all partitions in turn; without it to the one its name is hashed to.
    now_ms
        The last of the windows ends at the full minute before it.
    """

    def __init__(
        self, n_models: int, n_features: int, rows_per_window: int, rows_per_message: int, *, spread: bool, now_ms: int
    ) -> None:
        self.n_models, self.n_features, self.spread = n_models, n_features, spread
        self.models = [f"model-{number:05d}" for number in range(n_models)]
        self._names = [f"feature_{number}" for number in range(n_features)]
        self._per_message = rows_per_message
        self._messages_per_window = max(1, rows_per_window // rows_per_message)
        self.rows_per_window = self._messages_per_window * rows_per_message
        self.n_rows = n_models * self.rows_per_window * N_WINDOWS
        self.start_ms = (now_ms // MINUTE_MS - N_WINDOWS) * MINUTE_MS
        self.last_start_ms = self.start_ms + (N_WINDOWS - 1) * MINUTE_MS
        rng = np.random.default_rng(SEED)
        self._pool = [np.round(rng.standard_normal((n_features, rows_per_message)), 3).tolist() for _ in range(POOL)]

    def baseline(self) -> Baseline:
        """Return the baseline all models have, by the first one's name."""
        rng = np.random.default_rng(SEED)
        columns = {name: Column(np.round(rng.standard_normal(REFERENCE_ROWS), 3)) for name in self._names}
        times = np.linspace(0, 50 * MINUTE_MS, REFERENCE_ROWS, endpoint=False).astype(np.int64)
        return build_baseline(
            columns, times, baseline_id=f"{self.models[0]}@1", model=self.models[0],
            monitor=Monitor(self.models[0], window="1m"), source="benchmark", created_ms=0,
        )  # fmt: skip

    def publish(self, settings: Settings) -> None:
        """Publish a baseline for each model, a few at a time: all of them are large."""
        of_all = self.baseline()
        for first in range(0, self.n_models, PUBLISHED_AT_ONCE):
            records = []
            for model in self.models[first : first + PUBLISHED_AT_ONCE]:
                records += records_of(msgspec.structs.replace(of_all, baseline_id=f"{model}@1", model=model), 0)
            asyncio.run(publish(settings, records))

    def send(self, settings: Settings) -> int:
        """Produce the rows of all windows, all models in turn; return the bytes of their values."""
        step = MINUTE_MS // self._messages_per_window
        return self._produce(
            settings,
            (
                (model, self.start_ms + window * MINUTE_MS + number * step)
                for window in range(N_WINDOWS)
                for number in range(self._messages_per_window)
                for model in self.models
            ),
        )

    def close(self, settings: Settings) -> None:
        """Produce one message of each model, to every partition it uses, that lies after the last window."""
        after = self.last_start_ms + MINUTE_MS
        times = settings.partitions if self.spread else 1
        self._produce(settings, ((model, after) for _ in range(times) for model in self.models))

    def _produce(self, settings: Settings, places: Iterator[tuple[str, int]]) -> int:
        chance = random.Random(SEED)
        servers = {
            "bootstrap.servers": settings.bootstrap_servers,
            "linger.ms": 20,
            "queue.buffering.max.kbytes": 65536,
        }
        producer = Producer(servers)
        n_bytes = 0
        for number, (model, time_ms) in enumerate(places):
            columns = dict(zip(self._names, chance.choice(self._pool), strict=True))
            value = orjson.dumps({"model": model, "times": [time_ms] * self._per_message, "columns": columns})
            n_bytes += len(value)
            in_turn = number // self.n_models + number % self.n_models
            partition = in_turn % settings.partitions if self.spread else partition_of(model, settings.partitions)
            while True:
                try:
                    producer.produce(topics.EVENTS.name, value, partition=partition)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        producer.flush(300)
        return n_bytes
