"""What the pages show, from results: strength, ranking, since when, words."""

from __future__ import annotations

import math

import pytest

from schemas import results
from streams.panel import words
from streams.panel.distributions import bins_of
from streams.panel.views import feature_rows, heat_map, strength, strongest, summarise
from tests.panel.story import START_MS, car_loan, one_result


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (results.Test(0.006, 0.006, 0.041, 0.0), 0.0),
        (results.Test(0.041, 0.006, 0.041, 0.035), 0.999),
        (results.Test(0.076, 0.006, 0.041, 0.07, None, True), 2.0),
        (results.Test(0.001, 0.006, 0.041, -0.005), 0.0),
        (results.Test(-0.4, 0.0, 0.2, 0.4, None, True), 2.0),
        (results.Test(0.30, 0.50, 0.45, -0.2, None, True), 4.0),
        (results.Test(0.02, 0.01, 0.05, 0.01, None, True), 1.0),
        (results.Test(0.09, 0.01, 0.05, 0.08, None, False), 0.999),
        (results.Test(0.5, 0.5, 0.5, 1.0, None, True), 2.0),
        (results.Test(0.0, 0.0, 0.0, 0.0), None),
    ],
)
def test_strength_is_0_at_noise_and_1_at_the_line(test: results.Test, expected: float | None) -> None:
    assert strength(test) == (None if expected is None else pytest.approx(expected))


def test_growth_that_did_not_drift_says_nothing_of_strength() -> None:
    growth = results.Test(0.0173, 0.0049, 0.0173, 0.0124)
    psi = results.Test(0.02, 0.01, 0.05, 0.01)
    calm = results.FeatureVerdict("a", "ok", tests={"growth": growth, "psi": psi})
    name, _, reached = strongest(calm)
    assert name == "psi"
    assert reached == pytest.approx(0.25)
    grown = results.Test(0.0373, 0.0049, 0.0173, 0.0324, None, True)
    drifted = results.FeatureVerdict("a", "drift", tests={"growth": grown, "psi": psi})
    assert strongest(drifted)[0] == "growth"


def test_a_feature_shows_the_finest_scale_that_drifts() -> None:
    newest = [
        one_result("m", 9),
        one_result("m", 5, scale=5, verdict="drift"),
        one_result("m", 0, scale=25, verdict="drift"),
    ]
    assert [(row.scale, row.verdict) for row in feature_rows(newest)] == [(5, "drift")]


def test_since_is_the_start_of_the_unbroken_run_of_drift_and_unjudged_windows_do_not_break_it() -> None:
    verdicts = ["drift", "ok", "drift", "insufficient", "drift"]
    windows = [one_result("m", i, verdict=verdict) for i, verdict in enumerate(verdicts)]  # type: ignore[arg-type]  # a list of literals
    (row,) = feature_rows([windows[-1]], {1: windows})
    assert row.since == windows[2].window_start


def test_the_heat_map_has_a_gap_where_a_feature_was_not_judged_or_not_there() -> None:
    windows = [one_result("m", 0, features=("a", "b")), one_result("m", 1, verdict="insufficient"), one_result("m", 2)]
    heat = heat_map(windows, ["a", "b"])
    assert [value is None for value in heat.strengths[0]] == [False, True, True]


def test_models_that_drift_come_first_then_those_with_alerts() -> None:
    newest = [one_result("calm"), one_result("drifts", verdict="drift"), one_result("learning", verdict="no_baseline")]
    assert next(summary.model for summary in summarise(newest, [])) == "drifts"


def test_a_provisional_baseline_makes_its_model_provisional() -> None:
    story = car_loan()
    summaries = {s.model: s for s in summarise([one_result("search-ranking")], [], story.baselines)}
    assert summaries["search-ranking"].provisional
    assert not summaries["churn"].provisional


def test_counts_of_another_baseline_are_never_drawn_on_these_bins() -> None:
    baseline = car_loan().baselines["car-loan"]
    assert bins_of(baseline, "car-loan@1", "car_value") is not None
    assert bins_of(baseline, "car-loan@2", "car_value") is None
    assert bins_of(baseline, "car-loan@1", "unknown") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12.0, "12"),
        (0.041234, "0.0412"),
        (-0.5, "-0.5"),
        (32000.4, "32,000"),
        (1.0249, "1.02"),
        (9.9996, "10"),
        (3e-7, "3.00e-07"),
        (2.5e18, "2.50e+18"),
        (math.nan, words.NONE),
        (math.inf, words.NONE),
        (None, words.NONE),
    ],
)
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.00001, "< 0.1 %"), (0.034, "3.4 %"), (0.314, "31 %"), (1.0, "100 %"), (None, words.NONE)],
)
def test_a_small_share_is_never_written_as_zero(share: float | None, text: str) -> None:
    assert words.percent(share) == text


@pytest.mark.parametrize(("strength", "at"), [(None, 0), (0.5, 20), (1, 40), (2, 52), (32, 100), (1e9, 100)])
def test_the_gauge_puts_the_line_at_40_and_32_times_it_at_the_end(strength: float | None, at: float) -> None:
    assert float(words.reach(strength)) == at


@pytest.mark.parametrize("time_ms", [10**18, -(10**18)])
def test_a_time_no_calendar_has_is_a_dash(time_ms: int) -> None:
    assert words.when(time_ms) == words.NONE
    assert words.iso(time_ms) == ""


def test_times_are_utc_to_the_minute_and_durations_in_their_largest_unit() -> None:
    assert words.when(START_MS) == "2026-10-30 18:00"
    assert words.iso(START_MS) == "2026-10-30T18:00:00.000Z"
    assert [words.span(ms) for ms in (60_000, 21_600_000, 604_800_000)] == ["1 min", "6 h", "7 d"]
