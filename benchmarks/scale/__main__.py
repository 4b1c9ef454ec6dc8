"""`python -m benchmarks.scale`: run it, print the table, leave `.bench/scale.json`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import figures
from benchmarks.broker import own_kafka
from benchmarks.scale.run import LONG, SHORT, Figures, measure
from tests.kafka.server import version

console = Console()


def main() -> None:
    """Start a broker for each fleet, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument(
        "--fleet", action="append", choices=list(SHORT), help="only this one; may be given several times"
    )
    parser.add_argument("--models", type=int, help="so many models in place of the fleet's own number")
    parser.add_argument("--logs", type=Path, help="folder that keeps the workers' logs")
    arguments = parser.parse_args()
    sizes = LONG if os.environ.get("LONG") == "1" else SHORT
    started = figures.now()
    found: Figures = {}
    for name in arguments.fleet or sizes:
        size = sizes[name]._replace(models=arguments.models) if arguments.models else sizes[name]
        with own_kafka() as (kafka, folder):
            logs = arguments.logs or folder
            logs.mkdir(parents=True, exist_ok=True)
            with console.status(f"{name}: {size.models} models of {size.features} features"):
                fleet = measure(kafka.bootstrap_servers, logs, name, size)
        found |= {f"{name}_{figure}": round(value, 3) for figure, value in fleet.items()}
    console.print(table(found, list(arguments.fleet or sizes)))
    path = figures.write("scale", found, started=started, measured_on=figures.versions(kafka=version()))
    console.print(f"the figures stand in {path}")


def table(found: Figures, names: list[str]) -> Table:
    """Return the table people read: a column for each fleet."""
    shown = Table(title="One worker, 8 partitions; p99 is the upper end of a histogram's bucket")
    shown.add_column()
    for name in names:
        shown.add_column(name, justify="right")
    lines = dict.fromkeys(
        figure.removeprefix(f"{name}_") for name in names for figure in found if figure.startswith(name)
    )
    for line in lines:
        values = [found.get(f"{name}_{line}") for name in names]
        shown.add_row(line, *("" if value is None else f"{value:,.2f}".removesuffix(".00") for value in values))
    return shown


if __name__ == "__main__":
    main()
