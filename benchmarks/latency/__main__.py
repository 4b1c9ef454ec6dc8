"""`python -m benchmarks.latency`: from event to verdict, page and Slack; the table, and `.bench/latency.json`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import figures
from benchmarks.broker import own_kafka
from benchmarks.latency.line import Line
from benchmarks.latency.logging import NOWHERE, log_ms, percentile
from benchmarks.latency.traffic import MODELS, SPEED
from detectors.windows import MINUTE_MS
from streams.embedded.clickhouse import EmbeddedClickHouse
from tests.kafka.server import version

SHORT_S, LONG_S = 60.0, 300.0
BACKLOG = 240_000
LOADS = (0.1, 0.8)
N_CALLS = 5_000
TARGET_S = 1.0
TARGET_LOG_MS = 1.0
USUAL_ROWS_PER_S = 100
TARGET_SHIFT_S = 300.0
console = Console(highlight=False)


def main() -> None:
    """Start a broker, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--seconds", type=float, help="at each load; 60, with LONG=1 300")
    parser.add_argument("--backlog", type=int, default=BACKLOG, help="rows the capacity is measured with")
    parser.add_argument("--logs", type=Path, help="folder that keeps the roles' logs")
    arguments = parser.parse_args()
    seconds = arguments.seconds or (LONG_S if os.environ.get("LONG") == "1" else SHORT_S)
    started = figures.now()
    with own_kafka() as (kafka, folder):
        found = measure(kafka.bootstrap_servers, folder, arguments.logs or folder, seconds, arguments.backlog)
    console.print(table(found))
    rounded = {name: round(value, 4) for name, value in found.items()}
    path = figures.write("latency", rounded, started=started, measured_on=figures.versions(kafka=version()))
    console.print(f"the figures stand in {path}")


def measure(bootstrap_servers: str, folder: Path, logs: Path, seconds: float, backlog: int) -> dict[str, float]:
    """Return every figure."""
    logs.mkdir(parents=True, exist_ok=True)
    found: dict[str, float] = {}

    def say(text: str) -> None:
        console.print(f"  {text}")

    with EmbeddedClickHouse(folder / "store") as store, Line(bootstrap_servers, store.url, logs) as line:
        capacity = line.capacity(backlog)
        found["capacity_rows_per_s"] = capacity
        console.print(f"  capacity {capacity:,.0f} rows/s")
        for load in LOADS:
            heard = line.latencies(load * capacity, seconds, say)
            for name, values in heard._asdict().items():
                found[f"{name}_p50_s_{load:.0%}".replace("%", "")] = percentile(values, 0.5)
                found[f"{name}_p99_s_{load:.0%}".replace("%", "")] = percentile(values, 0.99)
                found[f"{name}_n_{load:.0%}".replace("%", "")] = len(values)
        pace = min(USUAL_ROWS_PER_S * SPEED * len(MODELS), max(LOADS) * capacity)
        found["shift_rows_per_s"] = pace / SPEED / len(MODELS)
        waited = line.latencies(pace, seconds, say)
        found["shift_to_slack_s"] = MINUTE_MS / 1000 + max(waited.slack, default=float("nan"))
    for name, address in (("up", bootstrap_servers), ("down", NOWHERE)):
        took = log_ms(address, N_CALLS)
        found[f"log_p50_ms_{name}"], found[f"log_p99_ms_{name}"] = percentile(took, 0.5), percentile(took, 0.99)
    highest = f"{max(LOADS):.0%}".replace("%", "")
    for name in ("result", "page", "slack"):
        found[f"{name}_p99_s"] = found[f"{name}_p99_s_{highest}"]
    found["log_p99_ms"] = max(found["log_p99_ms_up"], found["log_p99_ms_down"])
    return found


def table(found: dict[str, float]) -> Table:
    """Return the table people read."""
    shown = Table(title=f"Seconds above the end of the window; event time runs {SPEED} times faster than the clock")
    for column in ("", "load", "p50", "p99", "of", "target p99"):
        shown.add_column(column, justify="left" if not column else "right")
    for name, words in (("result", "verdict on the results topic"), ("page", "event of the page"), ("slack", "Slack")):
        for load in LOADS:
            at = f"{load:.0%}".replace("%", "")
            values = [found[f"{name}_{what}_{at}"] for what in ("p50_s", "p99_s")]
            n = found[f"{name}_n_{at}"]
            shown.add_row(words, f"{load:.0%}", *(f"{value:.3f}" for value in values), f"{n:.0f}", f"{TARGET_S:g}")
    shift = f"{found['shift_to_slack_s']:.1f}"
    at = f"{found['shift_rows_per_s']:.0f} rows/s"
    shown.add_row("shift of 1 sd to Slack, all waits in", at, "", shift, "", f"{TARGET_SHIFT_S:g}")
    for name in ("up", "down"):
        values = [found[f"log_{what}_ms_{name}"] for what in ("p50", "p99")]
        shown.add_row(
            f"log(), broker {name}, ms", "", *(f"{v:.3f}" for v in values), f"{N_CALLS}", f"{TARGET_LOG_MS:g}"
        )
    return shown


if __name__ == "__main__":
    main()
