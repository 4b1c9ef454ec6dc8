"""Seeded traffic for the engine suite: models, encodings, disorder, late rows, broken messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from detectors.reference import build_baseline
from schemas.arrays import column_of
from schemas.baselines import Baseline
from schemas.columns import Column
from schemas.events import ARROW
from schemas.monitors import Monitor

MINUTE_MS = 60_000
START_MS = 1_772_366_400_000  # 2026-03-01 12:00 UTC
CITIES = ("Lyon", "Oslo", "Rome")


class Message(NamedTuple):
    """What is produced to one partition."""

    partition: int
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]


def monitor(model: str) -> Monitor:
    """Return a monitor with one-minute windows that is never idle, so that no clock has a say."""
    return Monitor(model=model, monitor_version=1, window="1m", idle_s=86_400.0)


def columns(rng: np.random.Generator, n_rows: int, shift: float) -> dict[str, list[float | str | None]]:
    """Return the features of some rows."""
    income = rng.normal(32_000 + 20_000 * shift, 9_000, n_rows).round(2)
    return {
        "age": rng.normal(40, 9, n_rows).round().tolist(),
        "income": income.tolist(),
        "ratio": [
            None if missing else value
            for missing, value in zip(rng.random(n_rows) < 0.02, rng.random(n_rows).tolist(), strict=True)
        ],
        "city": rng.choice(CITIES, n_rows, p=[0.5, 0.3, 0.2]).tolist(),
    }


def baseline(model: str, seed: int = 1) -> Baseline:
    """Return a baseline of two hours of undrifted rows."""
    rng = np.random.default_rng(seed)
    n_rows = 12_000
    times = START_MS - 2 * 60 * MINUTE_MS + np.sort(rng.integers(0, 2 * 60 * MINUTE_MS, n_rows))
    values: dict[str, Column] = {name: column_of(column) for name, column in columns(rng, n_rows, 0.0).items()}
    return build_baseline(
        values, times.astype(np.int64), baseline_id=f"{model}@1", model=model, monitor=monitor(model),
        source="test", created_ms=0,
    )  # fmt: skip


def messages(models: Sequence[str], *, n_partitions: int, minutes: int, seed: int = 7) -> list[Message]:
    """Return traffic of all models over some minutes, drifting in the second half, in the order it is produced.

    Every minute each model sends rows in each encoding to every partition. A tenth of the rows is
    out of order, some are too late for their window, some messages are broken or tombstones.
    """
    rng = np.random.default_rng(seed)
    made: list[Message] = []
    for minute in range(minutes):
        for partition in range(n_partitions):
            for model in models:
                shift = 1.0 if model == models[0] and minute >= minutes // 2 else 0.0
                made += _minute(rng, model, partition, START_MS + minute * MINUTE_MS, shift)
            made.append(
                Message(partition, [b"{not json", None, b'{"model":"x"}', b"\xff\xff\xff\xff\x00"][minute % 4], [])
            )
    end = START_MS + (minutes + 3) * MINUTE_MS  # passes every window before it
    made += [Message(p, _row("1", model, end, {"age": 40.0}), []) for p in range(n_partitions) for model in models]
    return made


def _minute(rng: np.random.Generator, model: str, partition: int, start: int, shift: float) -> list[Message]:
    n_rows = 60
    times = start + np.sort(rng.integers(0, MINUTE_MS, n_rows))
    times[rng.random(n_rows) < 0.1] -= 45_000  # out of order
    times[rng.random(n_rows) < 0.02] -= 5 * MINUTE_MS  # late
    values = columns(rng, n_rows, shift)
    third = n_rows // 3
    made = [
        Message(partition, _row("1", model, int(times[i]), {name: column[i] for name, column in values.items()}), [])
        for i in range(third)
    ]
    second = slice(third, 2 * third)
    made.append(
        Message(
            partition,
            orjson.dumps(
                {
                    "model": model,
                    "version": "2",
                    "times": times[second].tolist(),
                    "columns": {name: column[second] for name, column in values.items()},
                }
            ),
            [],
        )
    )
    table = pa.table(
        {
            "time": times[2 * third :].astype(np.int64),
            **{f"feature.{name}": column[2 * third :] for name, column in values.items()},
        }
    ).replace_schema_metadata({"model": model, "version": "2"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    made.append(Message(partition, sink.getvalue().to_pybytes(), [("content-type", ARROW.encode())]))
    return made


def _row(version: str, model: str, time: int, features: dict[str, object]) -> bytes:
    return orjson.dumps(
        {"model": model, "version": version, "time": time, "features": features, "id": f"{model}-{time}"}
    )
