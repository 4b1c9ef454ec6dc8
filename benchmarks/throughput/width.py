"""What a row costs by the number of its features: bytes to verdicts, in this process, without a broker."""

from __future__ import annotations

import time

from benchmarks.throughput.traffic import MODEL, Traffic, baseline
from schemas import topics
from schemas.control import Effective
from schemas.events import ARROW
from schemas.records import PlainRecord
from streams.catalogue import Catalogue
from streams.replay.run import Replay

N_ROWS = 240_000
POLL = 10
NOW_MS = 1_800_000_000_000


def cpu_us_per_row(n_features: int) -> float:
    """Return the CPU microseconds a row of so many features takes from Arrow bytes to verdicts."""
    catalogue, made = Catalogue(), baseline(n_features)
    catalogue.add_baseline(made)
    catalogue.add_effective(Effective(MODEL, made.baseline_id, 0))
    traffic = Traffic("arrow", N_ROWS, 1, NOW_MS, n_features)
    headers = [("content-type", ARROW.encode())]
    records = [
        PlainRecord(topics.EVENTS.name, 0, offset, traffic.timestamp(message), message.value, None, headers)
        for offset, message in enumerate(traffic.messages())
    ]
    run = Replay(catalogue, "width")
    started = time.process_time()
    for first in range(0, len(records), POLL):
        list(run.add(records[first : first + POLL]))
        list(run.judge())
    return (time.process_time() - started) / N_ROWS * 1e6
