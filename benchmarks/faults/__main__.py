"""`python -m benchmarks.faults`: faults while traffic flows; the table, and `.bench/faults.json`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import figures
from benchmarks.broker import own_kafka
from benchmarks.faults import broken
from benchmarks.faults.compare import Found
from benchmarks.faults.run import Seed
from benchmarks.faults.schedule import KINDS, SESSION_S, Schedule, draw, read, without, words, write
from streams.embedded.clickhouse import EmbeddedClickHouse
from tests.kafka.server import version

SHORT, LONG = (4, 1.0), (20, 1.5)
TAKEOVER_S = SESSION_S + 10.0
BUSY = 2
MUST_BE_ZERO = (
    "rows_lost", "rows_double", "verdicts_different", "alerts_lost", "alerts_double", "alerts_different",
    "dead_letters_lost", "dead_letters_extra", "store_lost", "store_double", "slack_lost", "slack_unknown",
    "slack_double", "spans_lost", "monitors_double", "not_learned", "unread", "not_sent", "failed",
)  # fmt: skip
FOR_INFORMATION = (
    "only_warnings_differ", "verdicts_excepted",
    "alerts_repeated", "dead_letters_repeated", "slack_repeated", "spans_repeated", "crashes",
    "windows", "rows", "alerts", "dead_letters",
)  # fmt: skip
console = Console(highlight=False)


def main() -> None:
    """Run the seeds, print, write; the exit code is 1 when a figure that must be 0 is not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, help="how many; 4, with LONG=1 20")
    parser.add_argument("--minutes", type=float, help="faults a seed last this long; 1, with LONG=1 1.5")
    parser.add_argument("--schedule", type=Path, help="play this schedule instead of drawing one")
    parser.add_argument("--broken", choices=sorted(broken.DEFECTS), help="run an engine with this defect: it must fail")
    parser.add_argument("--without", action="append", default=[], choices=KINDS, help="leave out faults of this kind")
    parser.add_argument("--folder", type=Path, help="keep logs and schedules here; without one only those of failures")
    parser.add_argument("--within", type=float, default=float("inf"), help="begin no seed after this many seconds")
    arguments = parser.parse_args()
    n_seeds, minutes = LONG if os.environ.get("LONG") == "1" else SHORT
    minutes = arguments.minutes or minutes
    if arguments.schedule:
        schedules = [read(arguments.schedule)]
    else:
        schedules = [draw(arguments.seed + n, minutes) for n in range(arguments.seeds or n_seeds)]
    schedules = [without(schedule, arguments.without) for schedule in schedules]
    folder = arguments.folder or figures.FOLDER / "faults"
    program = [sys.executable, "-m", broken.__name__, arguments.broken] if arguments.broken else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # so that everything started is ended
    started, begun = figures.now(), time.monotonic()
    found: dict[int, Found] = {}
    for schedule in schedules:
        if time.monotonic() - begun > arguments.within and found:
            break
        found[schedule.seed] = one(schedule, folder / f"seed-{schedule.seed}", program)
        if not failures(found[schedule.seed]) and arguments.folder is None:
            shutil.rmtree(folder / f"seed-{schedule.seed}")
    console.print(table(found))
    path = figures.write(
        "faults", total(found), started=started, measured_on=figures.versions(kafka=version()),
        details={str(seed): msgspec.to_builtins(each) for seed, each in found.items()},
    )  # fmt: skip
    console.print(f"the figures stand in {path}, schedules and logs of seeds that failed in {folder}")
    wrong = {seed: failures(each) for seed, each in found.items() if failures(each)}
    for seed, names in wrong.items():
        console.print(f"seed {seed} failed: {', '.join(names)}", style="bold red", markup=False)
    sys.exit(1 if wrong else 0)


def one(schedule: Schedule, folder: Path, program: list[str] | None) -> Found:
    """Run one schedule on a broker and a store of its own; what breaks the run itself is a figure as well."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(schedule, folder / "schedule.json")
    console.print(f"[bold]seed {schedule.seed}[/], {schedule.minutes:g} minutes, {schedule.detect} detect")
    for fault in schedule.faults:
        console.print(f"  planned {words(fault)}", style="dim", markup=False)
    begun = time.monotonic()

    def say(text: str) -> None:
        console.print(f"  {time.monotonic() - begun:6.1f}  {text}", markup=False)

    with own_kafka() as (kafka, scratch):
        try:
            with EmbeddedClickHouse(scratch / "store") as store:
                found = Seed(kafka, store.url, folder, schedule, say, program).run()
        except Exception as error:
            console.print_exception()
            found = Found({"failed": 1}, [f"the run itself failed: {type(error).__name__}: {error}"])
    n_rows, n_windows = found.figures.get("rows", 0), found.figures.get("windows", 0)
    (folder / "found.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    wrong = ", ".join(failures(found)) or "nothing"
    say(f"{n_rows:,} rows, {n_windows} windows, load average {found.load_average:g}; wrong: {wrong}")
    for line in found.details:
        console.print(f"    {line}", style="red", markup=False)
    return found


def failures(found: Found) -> list[str]:
    """Return the figures that should be 0 and are not, or take longer than they may.

    How long a take-over takes says something only of a machine that has time: a worker that waits for a core
    longer than its session lasts is slow to be started and to be missed.
    """
    wrong = [name for name in MUST_BE_ZERO if found.figures.get(name)]
    busy = found.load_average > BUSY * (os.cpu_count() or 1)
    return wrong + (["takeover_max_s"] if max(found.takeovers, default=0.0) > TAKEOVER_S and not busy else [])


def total(found: dict[int, Found]) -> dict[str, float]:
    """Return the figures over all seeds."""
    summed: dict[str, float] = {"seeds": len(found)}
    for name in (*MUST_BE_ZERO, *FOR_INFORMATION):
        summed[name] = sum(each.figures.get(name, 0) for each in found.values())
    takeovers = [took for each in found.values() for took in each.takeovers]
    return {**summed, "takeovers": len(takeovers), "takeover_max_s": max(takeovers, default=0.0)}


def table(found: dict[int, Found]) -> Table:
    """Return the table people read: a line a figure, a column a seed."""
    shown = Table(title=f"Faults: against an uninterrupted run over the same input; session {SESSION_S:g} s")
    shown.add_column()
    for seed in found:
        shown.add_column(f"seed {seed}", justify="right")
    shown.add_column("all", justify="right")
    summed = total(found)

    def row(name: str, values: Sequence[Any], must: str) -> None:
        shown.add_row(name, *(f"{value:g}" for value in values), f"{summed[name]:g}", must)

    shown.add_column("must be", justify="right")
    for name in (*MUST_BE_ZERO, *FOR_INFORMATION):
        row(name, [each.figures.get(name, 0) for each in found.values()], "0" if name in MUST_BE_ZERO else "")
    longest = [max(each.takeovers, default=0.0) for each in found.values()]
    row("takeover_max_s", longest, f"≤ {TAKEOVER_S:g}")
    return shown


if __name__ == "__main__":
    main()
