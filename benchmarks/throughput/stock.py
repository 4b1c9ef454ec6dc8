"""A Faust agent as Faust's documentation would write it: a windowed table of histograms.

It is treated kindly: one table entry, so one changelog record, a row, where one entry a feature would
cost twenty. Run as ``python -m benchmarks.throughput.stock worker``; ``/rows`` tells how far it is.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from datetime import timedelta
from typing import Any

import faust

EDGES = [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
N_FEATURES = 20

app = faust.App(
    "benchmark-stock",
    broker=f"kafka://{os.environ.get('STOCK_BROKER', '127.0.0.1:9092')}",
    value_serializer="json",
    store="memory://",
    topic_partitions=int(os.environ.get("STOCK_PARTITIONS", "4")),
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    web_bind="127.0.0.1",
    web_port=int(os.environ.get("STOCK_PORT", "6066")),
    autodiscover=False,
)
events = app.topic(os.environ.get("STOCK_TOPIC", "events"))
histograms: Any = app.Table("histograms", default=lambda: [[0] * (len(EDGES) + 1) for _ in range(N_FEATURES)]).tumbling(
    60.0, expires=timedelta(hours=1)
)
seen = [0]


@app.agent(events)
async def count(stream: Any) -> None:
    """Count every feature of every row into the histogram of its minute."""
    async for event in stream:
        bins = histograms[event["model"]].value()
        for counts, value in zip(bins, event["features"].values(), strict=True):
            counts[bisect_right(EDGES, value)] += 1
        histograms[event["model"]] = bins
        seen[0] += 1


@app.page("/rows")
async def rows(self: Any, request: Any) -> Any:  # noqa: ARG001 - Faust passes the request
    """Tell how many rows were counted."""
    return self.text(f"rows {seen[0]}")


if __name__ == "__main__":
    app.main()
