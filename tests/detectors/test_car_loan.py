"""The shipped car-loan rows: five columns change at row 12,500, nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import streams
from detectors import profile
from detectors.episodes import Episodes
from detectors.layout import Counts, Layout
from detectors.reference import build_baseline
from detectors.rule import Rule, window_state
from detectors.windows import WEEK_MS, scale_windows, window_end, window_starts
from schemas.arrays import column_of_arrow, epoch_ms_of_arrow
from schemas.columns import Column, Times
from schemas.monitors import Monitor
from schemas.results import Result

DATA = Path(streams.__path__[0]) / "demo"
FEATURES = [
    "car_value", "salary_range", "debt_to_income_ratio", "loan_length", "repaid_loan_on_prev_car",
    "size_of_downpayment", "driver_tenure",
]  # fmt: skip
CHANGED = {"car_value", "salary_range", "loan_length", "repaid_loan_on_prev_car", "prediction"}
MONITOR = Monitor("car-loan")


def rows_of(name: str) -> tuple[dict[str, Column], Times]:
    table = pq.read_table(DATA / f"{name}.parquet").sort_by("timestamp").combine_chunks()
    columns = {feature: column_of_arrow(table[feature].chunk(0)) for feature in FEATURES}
    columns["prediction"] = column_of_arrow(table["y_pred_proba"].chunk(0))
    return columns, epoch_ms_of_arrow(table["timestamp"].chunk(0))


def judged() -> Iterator[list[Result]]:
    """Results of every base window and of the merged ones that end with it, by event time."""
    reference, times = rows_of("reference")
    baseline = build_baseline(
        reference, times, baseline_id="car-loan@1", model="car-loan", monitor=MONITOR, source="file", created_ms=0
    )
    assert baseline.window_ms == WEEK_MS, baseline.window_reason
    layout = Layout(baseline)
    rule = Rule(baseline, layout, MONITOR)
    current, times = rows_of("monitoring")
    starts = window_starts(times, baseline.window_ms)
    counted: dict[int, tuple[Counts, int]] = {}
    for start in np.unique(starts).tolist():
        here = starts == start
        counts = layout.zeros()
        profile.add(layout, counts, {name: column.take(here) for name, column in current.items()}, int(here.sum()))
        counted[start] = (counts, int(here.sum()))
        results = []
        for scale in rule.scales:
            span = scale_windows(start, baseline.window_ms, scale)
            assert span is not None
            inside = [counted[s] for s in counted if span[0] <= s < span[1]]
            rows = sum(n for _, n in inside)
            verdicts = rule.score(np.sum([c for c, _ in inside], axis=0), rows, scale)
            results.append(
                Result(
                    "live", "car-loan", "", "", scale, *span, 0, True, rows, 0, "car-loan@1", 0,
                    window_state(verdicts), verdicts,
                )
            )  # fmt: skip
        yield results


@pytest.fixture(scope="module")
def results() -> list[list[Result]]:
    return list(judged())


def test_exactly_the_changed_columns_drift(results: list[list[Result]]) -> None:
    drifted = {v.feature for tick in results for r in tick for v in r.features if v.verdict == "drift"}
    assert drifted == CHANGED


def test_each_is_found_in_the_first_window_after_the_change_and_in_every_one_that_follows(
    results: list[list[Result]],
) -> None:
    change = int(rows_of("monitoring")[1][12_500])
    for tick in results:
        for result in tick:
            drifted = {v.feature for v in result.features if v.verdict == "drift"}
            if result.window_end <= change:
                assert drifted == set()
            elif result.window_start >= change:
                assert drifted == CHANGED
            assert drifted <= CHANGED


def test_it_is_one_alert(results: list[list[Result]]) -> None:
    episodes = Episodes(MONITOR)
    alerts = [alert for tick in results for alert in episodes.update(*tick)]
    assert {alert.episode_id for alert in alerts} == {alerts[0].episode_id}
    assert {feature.feature for feature in alerts[0].features} == CHANGED
    assert alerts[0].opened == window_end(alerts[0].features[0].since, WEEK_MS)
    assert all(alert.state == "open" for alert in alerts)
