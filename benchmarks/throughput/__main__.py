"""`python -m benchmarks.throughput`: run it, print the table, leave `.bench/throughput.json`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import figures
from benchmarks.broker import own_kafka
from benchmarks.throughput.run import LONG, SHORT, Figures, Size, measure
from benchmarks.throughput.traffic import ENCODINGS, Encoding
from tests.kafka.server import version

TARGETS: dict[Encoding, int] = {"arrow": 700_000, "columns": 350_000, "single": 120_000}
NAMES: dict[Encoding, str] = {
    "arrow": "Arrow float32\n1000 rows",
    "columns": "JSON columns\n1000 rows",
    "single": "JSON\n1 row",
}
LINES = (
    ("bytes a row", "bytes_per_row", ",.0f"),
    ("poll only", "poll_only_rows_per_s", ",.0f"),
    ("poll and decode", "decode_only_rows_per_s", ",.0f"),
    ("poll, decode, scipy ks_2samp a window", "scipy_rows_per_s", ",.0f"),
    ("stock Faust agent", "stock_faust_rows_per_s", ",.0f"),
    ("driftgauge", "rows_per_s", ",.0f"),
    ("  of poll and decode", "of_decode_only", ".2f"),
    ("  of scipy", "of_scipy", ",.1f"),
    ("  of stock Faust", "of_stock_faust", ",.0f"),
    ("  MB a second", "mb_per_s", ",.0f"),
    ("  CPU s per million rows", "cpu_s_per_million_rows", ".2f"),
    ("  rows per CPU second", "rows_per_cpu_s", ",.0f"),
    ("  peak RSS, MiB", "peak_rss_mib", ",.0f"),
    ("replay", "replay_rows_per_s", ",.0f"),
    ("  of live", "replay_of_live", ".2f"),
)
BESIDE = (
    ("CPU a row, two workers of one worker", "two_workers_cpu_ratio", "≤ 1.10"),
    ("CPU a feature, rows of 80 of rows of 20", "wide_cpu_ratio", "≤ 1.10"),
    ("memory after 20 minutes of that after 5", "rss_growth", "≤ 1.02"),
)
console = Console()


def main() -> None:
    """Start a broker, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument(
        "--encoding", action="append", choices=ENCODINGS, help="only this one; may be given several times"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="multiply all numbers of rows")
    parser.add_argument("--repeats", type=int, help="how often; medians are reported")
    parser.add_argument("--logs", type=Path, help="folder that keeps the workers' logs")
    arguments = parser.parse_args()
    size = scaled(LONG if os.environ.get("LONG") == "1" else SHORT, arguments.scale, arguments.repeats)
    encodings = arguments.encoding or ENCODINGS
    started = figures.now()
    with own_kafka() as (kafka, folder):
        logs = arguments.logs or folder
        logs.mkdir(parents=True, exist_ok=True)
        with console.status("throughput") as status:
            found = measure(
                kafka.bootstrap_servers, logs, size, encodings=encodings, progress=lambda text: status.update(text)
            )
    console.print(table(found, encodings))
    for words, name, target in BESIDE:
        if name in found:
            console.print(f"{words}: {found[name]:.2f} (target {target})")
    rounded = {name: round(value, 3) for name, value in found.items()}
    path = figures.write("throughput", rounded, started=started, measured_on=figures.versions(kafka=version()))
    console.print(f"the figures stand in {path}")


def scaled(size: Size, factor: float, repeats: int | None) -> Size:
    """Return the size with rows multiplied, in whole thousands."""
    rows = {name: max(1, round(getattr(size, name) * factor / 1000)) * 1000 for name in (*ENCODINGS, "stock", "pair")}
    return size._replace(**rows, repeats=repeats or size.repeats)


def table(found: Figures, encodings: Sequence[Encoding]) -> Table:
    """Return the table people read: a column for each encoding; ratios are of parts measured in the same minute."""
    shown = Table(title="Rows a second, one worker: 20 numeric features; PSI, KS, scores, ADWIN on block means")
    shown.add_column()
    for encoding in encodings:
        shown.add_column(NAMES[encoding], justify="right")
    for words, name, form in LINES:
        values = [found.get(f"{encoding}_{name}") for encoding in encodings]
        if any(value is not None for value in values):
            shown.add_row(words, *("" if value is None else format(value, form) for value in values))
    shown.add_row("target", *(f"{TARGETS[encoding]:,}" for encoding in encodings))
    return shown


if __name__ == "__main__":
    main()
