"""How long `log` of the client takes, with the broker there and away."""

from __future__ import annotations

import time

import numpy as np
from driftgauge_client import Client

FEATURES: dict[str, object] = {**{f"number {number}": number / 3 for number in range(18)}, "city": "Lyon", "text": None}
NOWHERE = "127.0.0.1:9"
PAUSE_S = 0.001


def log_ms(bootstrap_servers: str, n_calls: int) -> list[float]:
    """Return how many milliseconds each call took: 20 features, a thousand calls a second."""
    client = Client(bootstrap_servers)
    client.log("latency", FEATURES)
    took = []
    for number in range(n_calls):
        begun = time.perf_counter()
        client.log("latency", FEATURES, prediction=0.5, id=f"request {number}", latency_ms=3.0)
        took.append(1000 * (time.perf_counter() - begun))
        time.sleep(PAUSE_S)
    client.close(0 if bootstrap_servers == NOWHERE else 30)
    return took


def percentile(values: list[float], share: float) -> float:
    """Return a percentile; nan without values."""
    return float(np.quantile(values, share)) if values else float("nan")
