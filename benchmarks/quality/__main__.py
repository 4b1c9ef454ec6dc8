"""`python -m benchmarks.quality`: the lines Q1 to Q13 beside their targets; leaves `.bench/quality.json`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from operator import ge, le
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import figures
from benchmarks.quality import alarms, honesty, power
from benchmarks.quality.changes import COMPOSITE

SEED = 20_261_123
console = Console()


class Row(NamedTuple):
    """One figure: its name in the JSON, what it is, its value, and the target it must meet (None: only shown)."""

    line: str
    name: str
    words: str
    value: float
    meets: Callable[[Any, Any], Any] | None = None
    target: float = 0.0

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.meets is None or bool(self.meets(self.value, self.target))


def _q1(long: bool) -> Iterator[Row]:
    found = list(alarms.q1(long, SEED))
    rate, mean, bound = alarms.worst(found)
    yield Row("Q1", "q1_false_alarms_per_week_max", "independent rows: alarms a week, worst case", rate)
    yield Row("Q1", "q1_upper_bound_max", "  upper 95 % bound, worst case", bound, le, 2.0)
    yield Row("Q1", "q1_false_alarms_per_week_mean", "  mean over the cases", mean, le, 1.0)


def _q2(long: bool) -> Iterator[Row]:
    for what, rate, _bound in alarms.q2(long, SEED + 100):
        name = "q2_" + "".join(c if c.isalnum() else "_" for c in what.split(",")[0].lower())
        yield Row("Q2", name, f"{what}: alarms a week", rate, le, 3.0)


def _q3_q4_q13(long: bool) -> Iterator[Row]:
    n_streams = 40 if long else 16
    for rows, first, others, target in ((500, 500, 1_000, 0.93), (2_000, 2_000, 4_000, 0.89)):
        kinds = power.q13(rows, n_streams, SEED + 200)
        for kind, delay in (("mean +0.5 sd", first), ("mean +0.25 sd", others), ("spread x1.25", others)):
            slug = {"mean +0.5 sd": "mean_050", "mean +0.25 sd": "mean_025", "spread x1.25": "spread"}[kind]
            within = float(sum(d <= delay for d in kinds[kind].delays)) / len(kinds[kind].delays)
            yield Row("Q3", f"q3_{slug}_{rows}", f"{kind}, {rows}: found within {delay} rows", within, ge, 1.0)
        if rows == 500:
            for kind, slug, limit in (
                ("gradual to 0.5 sd", "gradual", 4_500), ("category 1 to 3 %", "category", 2_500),
                ("mean +0.1 sd", "small", 5_000),
            ):  # fmt: skip
                yield Row("Q4", f"q4_{slug}_delay_rows", f"{kind}: median delay, rows", kinds[kind].median, le, limit)
        score = power.composite({kind: one for kind, one in kinds.items() if kind in COMPOSITE})
        yield Row("Q13", f"composite_{rows}", f"composite, windows of {rows} rows", score, ge, target)


def _q5(long: bool) -> Iterator[Row]:
    found = power.q5(500, 10 if long else 3, SEED + 300)
    yield Row("Q5", "q5_found", "recurring: share of the phases found", found["found"], ge, 1.0)
    yield Row("Q5", "q5_exactly_once", "  streams with one open and one close a phase", found["exactly_once"], ge, 1.0)
    yield Row("Q5", "q5_close_windows_median", "  windows to the close, median", found["close_windows_median"], le, 2)


def _q6(long: bool) -> Iterator[Row]:
    for kind, share in power.q6(500, 40 if long else 16, SEED + 400).items():
        slug = "".join(c if c.isalnum() else "_" for c in kind)
        yield Row("Q6", f"q6_{slug}", f"{kind}: found within 4,000 rows", share, ge, 1.0)


def _q7(long: bool) -> Iterator[Row]:
    n_alarms, intervals = alarms.q7(SEED + 500, 1_000_000 if long else 200_000)
    covered = sum(low <= 0.02 <= high for low, high in intervals) / max(len(intervals), 1)
    yield Row("Q7", "q7_alarms", "0.02 sd in very large windows: alarms", n_alarms, le, 0)
    yield Row("Q7", "q7_interval_covers", "  intervals that cover it", covered)


def _q8(long: bool) -> Iterator[Row]:
    precision, recall = honesty.q8_car_loan()
    yield Row("Q8", "q8_car_loan_precision", "car loan: precision by name", precision, ge, 0.99)
    yield Row("Q8", "q8_car_loan_recall", "  recall", recall, ge, 1.0)
    precision, recall = power.q8(500, 20 if long else 5, SEED + 600)
    yield Row("Q8", "q8_synthetic_precision", "5 of 50: precision by name", precision, ge, 0.99)
    yield Row("Q8", "q8_synthetic_recall", "  recall", recall, ge, 1.0)


def _q9(long: bool) -> Iterator[Row]:
    ks, u, different = honesty.q9(200 if long else 40, SEED + 700)
    yield Row("Q9", "q9_ks_error", "KS against scipy: largest error", ks, le, 1e-12)
    yield Row("Q9", "q9_mann_whitney_error", "Mann-Whitney against scipy: largest relative error", u, le, 1e-12)
    yield Row("Q9", "q9_splits_that_differ", "splits of the rows that count differently", different, le, 0)


def _q10(long: bool) -> Iterator[Row]:
    del long
    for what, n_alarms in honesty.q10(SEED + 800):
        slug = "".join(c if c.isalnum() else "_" for c in what.lower())
        yield Row("Q10", f"q10_{slug}", f"{what}: alarms in a week", n_alarms, le, 1)


def _q11(long: bool) -> Iterator[Row]:
    different = honesty.q11(SEED + 900, 100_000 if long else 20_000)
    yield Row("Q11", "q11_adwin_different", "ADWIN on block means: alarms that differ from River's", different, le, 0)


def _q12(long: bool) -> Iterator[Row]:
    cost = honesty.q12(SEED + 1_000, 1_000 if long else 200)
    yield Row("Q12", "q12_ms_per_window_and_feature", "CPU ms a window and feature, three scales", cost, le, 0.1)


LINES: dict[str, Callable[[bool], Iterator[Row]]] = {
    "Q1": _q1, "Q2": _q2, "Q3": _q3_q4_q13, "Q5": _q5, "Q6": _q6, "Q7": _q7, "Q8": _q8, "Q9": _q9, "Q10": _q10,
    "Q11": _q11, "Q12": _q12,
}  # fmt: skip


def main() -> None:
    """Measure, print, write; exit code 1 when a target is not met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument(
        "--line", action="append", choices=[*LINES], help="only this one, several allowed; Q3 includes Q4 and Q13"
    )
    arguments = parser.parse_args()
    long, started = os.environ.get("LONG") == "1", figures.now()
    table = Table(title="Detection quality, defaults, 50 features, one false alarm a week as the budget")
    for heading in ("", "", "found", "target", ""):
        table.add_column(heading, justify="right" if heading in ("found", "target") else "left")
    rows: list[Row] = []
    with console.status("quality") as status:
        for name in arguments.line or LINES:
            status.update(name)
            for row in LINES[name](long):
                rows.append(row)
                bound = "" if row.meets is None else f"{'≤' if row.meets is le else '≥'} {row.target:g}"
                table.add_row(row.line, row.words, f"{row.value:.4g}", bound, "" if row.met else "[red]missed[/]")
    console.print(table)
    path = figures.write(
        "quality", {row.name: round(row.value, 6) for row in rows}, started=started, measured_on=figures.versions()
    )
    console.print(f"the figures stand in {path}")
    sys.exit(not all(row.met for row in rows))


if __name__ == "__main__":
    main()
