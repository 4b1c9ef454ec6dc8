"""The fastest lines of the quality benchmark meet their targets."""

from __future__ import annotations

import pytest

from benchmarks.quality.__main__ import LINES
from benchmarks.quality.alarms import false_alarms, mixed
from benchmarks.quality.changes import COMPOSITE
from benchmarks.quality.power import composite, found
from benchmarks.quality.shapes import DEPENDENT, INDEPENDENT


@pytest.mark.parametrize("line", ["Q8", "Q9", "Q11"])
def test_a_fast_line_meets_its_targets(line: str) -> None:
    missed = [f"{row.words}: {row.value:g} instead of {row.target:g}" for row in LINES[line](False) if not row.met]
    assert not missed


def test_a_week_without_change_raises_no_more_alarms_than_its_budget_allows() -> None:
    n_alarms, weeks = false_alarms(mixed({**INDEPENDENT, "AR 0.6": DEPENDENT["AR 0.6"]}), 500, 168, seed=5)
    assert weeks == pytest.approx(1.0)
    assert n_alarms <= 4  # one expected; five or more in fewer than one week of 250


def test_changes_are_found_soon() -> None:
    assert composite(found(COMPOSITE, 500, 8, seed=6)) >= 0.92
