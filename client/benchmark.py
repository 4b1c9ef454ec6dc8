"""How long `log` takes and how fast `log_many` is: ``python client/benchmark.py [BROKER]``.

Without a broker's address it uses the one inside confluent-kafka, in this very process, so that
its work is counted against the client.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
from confluent_kafka import Producer
from driftgauge_client import Client

FEATURES: dict[str, object] = {**{f"number {number}": number / 3 for number in range(18)}, "city": "Lyon", "text": None}
NOWHERE = "127.0.0.1:9"
N_MANY = 100_000


def latencies(client: Client, n_calls: int, pause_s: float) -> str:
    """Return percentiles of the time `log` takes for 20 features."""
    took_s = []
    for number in range(n_calls):
        begun = time.perf_counter()
        client.log("m", FEATURES, prediction=0.5, id=f"request {number}", latency_ms=3.0)
        took_s.append(time.perf_counter() - begun)
        if pause_s:
            time.sleep(pause_s)
    took_s.sort()
    at = {share: 1e6 * took_s[int(share * n_calls)] for share in (0.5, 0.99, 0.999)}
    return f"{at[0.5]:6.0f} {at[0.99]:6.0f} {at[0.999]:7.0f} us"


def rates(client: Client, columns: object) -> str:
    """Return how fast 20 columns are taken and confirmed by the broker."""
    begun = time.perf_counter()
    client.log_many("m", columns, wait=True)
    called_s = time.perf_counter() - begun
    delivered = client.flush(60)
    took_s = time.perf_counter() - begun
    return f"{N_MANY / called_s:12,.0f} {N_MANY / took_s:12,.0f} rows/s{'' if delivered else ' LOST'}"


def main(address: str) -> None:
    """Print both tables."""
    print("log, 20 features                 p50    p99   p99.9")
    for name, broker, n_calls, pause_s, buffer_mib in (
        ("broker up, 1,000 calls/s  ", address, 5_000, 0.001, 64),
        ("broker up, without pause  ", address, 50_000, 0.0, 64),
        ("broker down, 1,000 calls/s", NOWHERE, 5_000, 0.001, 64),
        ("broker down, without pause", NOWHERE, 50_000, 0.0, 64),
        ("buffer full               ", NOWHERE, 50_000, 0.0, 2),
    ):
        client = Client(broker, buffer_bytes=buffer_mib * 1024 * 1024)
        client.log("m", FEATURES)
        if broker == address:
            client.flush()
        print(name, latencies(client, n_calls, pause_s))
        client.close(30 if broker == address else 0)
    columns = {f"feature {number}": np.random.default_rng(number).normal(size=N_MANY) for number in range(20)}
    makes: dict[str, Callable[[], object]] = {
        "mapping of arrays": lambda: columns,
        "DataFrame        ": lambda: pd.DataFrame(columns),
        "Arrow table      ": lambda: pa.table(columns),
    }
    print("log_many, 20 columns       called    delivered")
    for name, make in makes.items():
        with Client(address) as client:
            print(name, rates(client, make()))


if __name__ == "__main__":
    embedded = Producer({"bootstrap.servers": NOWHERE, "test.mock.num.brokers": 1, "log_level": 0})
    node = next(iter(embedded.list_topics(timeout=10).brokers.values()))
    main(sys.argv[1] if len(sys.argv) > 1 else f"{node.host}:{node.port}")
