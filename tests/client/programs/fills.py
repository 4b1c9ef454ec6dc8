"""Logs more than a buffer of 16 MiB holds and prints by how many MiB the process grew."""

from __future__ import annotations

import time
from pathlib import Path

from driftgauge_client import Client

MIB = 1024 * 1024


def resident_mib() -> float:
    """Return the memory the process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MIB


client = Client(buffer_bytes=16 * MIB)
features = {**{f"number {number}": number / 3 for number in range(18)}, "city": "Lyon"}
before_mib = resident_mib()
n_logged = 0
while client.stats().dropped < 50_000:
    for _ in range(5_000):
        client.log("m", features, prediction=0.5, id=f"request {n_logged}")
        n_logged += 1
    time.sleep(0.01)  # as a service does, which lets the background thread work
print(resident_mib() - before_mib)
client.close(0)
