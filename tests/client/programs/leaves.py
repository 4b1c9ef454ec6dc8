"""Logs 100 rows and leaves as the argument says, without closing anything."""

from __future__ import annotations

import atexit
import signal
import sys
import time

import driftgauge_client


def log_100() -> None:
    for number in range(100):
        driftgauge_client.log("m", {"x": number}, id=str(number))


way = sys.argv[1]
if way in ("sigterm", "handler"):
    driftgauge_client.configure()
if way == "end":
    log_100()
elif way == "raise":
    log_100()
    raise RuntimeError("the service failed")
elif way == "atexit":
    atexit.register(log_100)
elif way == "sigterm":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    n_logged = 0
    try:
        print("ready", flush=True)
        while True:
            driftgauge_client.log("m", {"x": n_logged}, id=str(n_logged))
            n_logged += 1
            time.sleep(0.001)
    finally:
        print(n_logged, flush=True)
elif way == "handler":

    def stop(*_: object) -> None:
        driftgauge_client.log("m", {"x": 1}, id="last")
        driftgauge_client.close()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    while True:
        driftgauge_client.log("m", {"x": 1})
print(f"end of main {time.time()}", file=sys.stderr, flush=True)
