"""The default rule: what it finds, what it leaves alone, what it refuses to judge."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors import explain, lines
from detectors.errors import UnknownStatistic
from detectors.layout import Layout, NumericLayout
from detectors.reference import build_baseline
from detectors.rule import Rule, judge, window_state
from detectors.statistics import STATISTICS
from detectors.windows import DAY_MS, HOUR_MS, WEEK_MS
from schemas.baselines import Baseline
from schemas.columns import Column
from schemas.monitors import FeatureMonitor, FixedLimit, Monitor
from schemas.results import FeatureVerdict
from tests.detectors.rows import HOURLY, baseline, count, labels, numbers

M = 2000
CITIES = np.array(["Paris", "Lyon", "Lille", "Nice", "Brest"])
SHARES = [0.5, 0.3, 0.14, 0.05, 0.01]


def rows(rng: np.random.Generator, n: int, **changes: Any) -> dict[str, Column]:
    """Rows of one model without drift, but for the columns given."""
    return {
        "amount": numbers(np.exp(rng.standard_normal(n))),
        "score": numbers(rng.standard_normal(n)),
        "count": numbers(rng.poisson(2, n)),
        "still": numbers(np.full(n, 5.0)),
        "city": labels(rng.choice(CITIES, n, p=SHARES).tolist()),
        "gappy": numbers(np.where(rng.random(n) < 0.01, np.nan, rng.standard_normal(n))),
        **changes,
    }


@pytest.fixture(scope="module")
def reference() -> Baseline:
    return baseline(rows(np.random.default_rng(1), 20_000), rows_per_hour=M)


def verdicts(reference: Baseline, columns: Mapping[str, Column], n: int, **more: Any) -> dict[str, FeatureVerdict]:
    layout = Layout(reference)
    rule = Rule(reference, layout, more.pop("monitor", HOURLY))
    return {v.feature: v for v in rule.score(count(layout, columns, n), n, **more)}


def drifted(found: Mapping[str, FeatureVerdict]) -> set[str]:
    return {name for name, verdict in found.items() if verdict.verdict == "drift"}


def changes(rng: np.random.Generator) -> dict[str, tuple[str, Column, str]]:
    """Name of the change, the column it is in, its rows, and the test that must see it."""
    normal = rng.standard_normal(M)
    return {
        "mean": ("score", numbers(normal + 0.25), "location"),
        "spread": ("score", numbers(normal * 1.3), "scale"),
        "shape": ("score", numbers(np.sign(normal) * np.sqrt(np.abs(normal))), "psi"),
        "unit": ("amount", numbers(np.exp(normal) * 1000), "ks"),
        "spike": ("score", numbers(np.where(rng.random(M) < 0.03, 0.123, normal)), "growth"),
        "outliers": ("score", numbers(np.where(rng.random(M) < 0.02, 1e6, normal)), "growth"),
        "infinite": ("score", numbers(np.where(rng.random(M) < 0.03, np.inf, normal)), "growth"),
        "waking constant": ("still", numbers(np.where(rng.random(M) < 0.05, 6.0, 5.0)), "growth"),
        "rare category": (
            "city",
            labels(rng.choice(CITIES, M, p=[0.5, 0.3, 0.12, 0.05, 0.03]).tolist()),
            "growth",
        ),
        "unseen category": (
            "city",
            labels(np.where(rng.random(M) < 0.02, "Rome", rng.choice(CITIES, M, p=SHARES)).tolist()),
            "growth",
        ),
        "shares": ("city", labels(rng.choice(CITIES, M, p=[0.3, 0.5, 0.14, 0.05, 0.01]).tolist()), "psi"),
        "missing": ("gappy", numbers(np.where(rng.random(M) < 0.04, np.nan, normal)), "share"),
        "all missing": ("score", numbers(np.full(M, np.nan)), "share"),
        "type errors": ("score", labels(["broken"] * M), "share"),
    }


@pytest.mark.parametrize("name", list(changes(np.random.default_rng(0))))
def test_a_change_is_found_in_its_feature_and_in_no_other(reference: Baseline, name: str) -> None:
    rng = np.random.default_rng(2)
    feature, column, test = changes(rng)[name]
    found = verdicts(reference, rows(rng, M, **{feature: column}), M)
    assert drifted(found) == {feature}
    assert found[feature].tests[test].drifted
    assert found[feature].severity
    assert found[feature].reason in found[feature].tests


def test_rows_like_the_reference_do_not_drift(reference: Baseline) -> None:
    for seed in range(5):
        found = verdicts(reference, rows(np.random.default_rng(100 + seed), M), M)
        assert {v.verdict for v in found.values()} == {"ok"}
        assert window_state(list(found.values())) == "ok"


def test_a_verdict_says_before_after_and_where(reference: Baseline) -> None:
    rng = np.random.default_rng(3)
    cities = labels(np.where(rng.random(M) < 0.2, "Rome", rng.choice(CITIES, M, p=SHARES)).tolist())
    found = verdicts(reference, rows(rng, M, city=cities), M, unseen={"city": {"Rome": 400}})["city"]
    assert found.before.startswith("Paris 5")
    assert found.after == "Paris 39 %, Lyon 24 %, Lille 11 %"
    assert found.unseen == 432
    assert ("Rome", 0.0, 0.2) in found.top_bins
    assert sum(found.counts) == found.rows == M


def test_a_scored_effect_lies_in_its_interval_and_above_its_noise(reference: Baseline) -> None:
    rng = np.random.default_rng(4)
    found = verdicts(reference, rows(rng, M, score=numbers(rng.standard_normal(M) + 0.5)), M)["score"]
    psi, ks = found.tests["psi"], found.tests["ks"]
    assert psi.effect == pytest.approx(psi.value - psi.noise)
    assert psi.interval is not None
    assert psi.interval[0] < psi.effect < psi.interval[1]
    assert ks.value > ks.line > ks.noise > 0
    assert found.tests["location"].value == pytest.approx(0.5, abs=0.1)


def test_values_of_psi_and_ks_are_those_of_the_registry_and_every_result_travels(reference: Baseline) -> None:
    rng = np.random.default_rng(17)
    layout = Layout(reference)
    counts = count(layout, rows(rng, 700, score=numbers(rng.standard_normal(700) + 0.1)), 700)
    for verdict in Rule(reference, layout, HOURLY).score(counts, 700):
        again = msgspec.json.decode(msgspec.json.encode(verdict), type=FeatureVerdict)
        assert again == verdict
        part = layout.features[verdict.feature]
        if isinstance(part, NumericLayout):
            known, cells = part.feature.counts.numpy(), counts[part.cells]
            assert verdict.tests["ks"].value == pytest.approx(float(STATISTICS["ks"](known, cells)), abs=1e-15)
        if "psi" in verdict.tests and part.kind == "numeric":
            expected = float(STATISTICS["psi"](part.feature.bin_counts, verdict.counts))
            assert verdict.tests["psi"].value == pytest.approx(expected, abs=1e-15)


def test_a_tiny_shift_in_a_huge_window_is_measured_but_no_alarm() -> None:
    rng = np.random.default_rng(5)
    reference = baseline({"x": numbers(rng.standard_normal(200_000))}, rows_per_hour=20_000)
    n = 1_000_000
    found = verdicts(reference, {"x": numbers(rng.standard_normal(n) + 0.02)}, n)["x"]
    assert found.verdict == "ok"
    assert found.tests["location"].value == pytest.approx(0.02, abs=0.01)


def test_too_few_rows_are_insufficient_and_never_drift(reference: Baseline) -> None:
    found = verdicts(reference, rows(np.random.default_rng(6), 60, score=numbers(np.full(60, 9.0))), 60)
    assert {v.verdict for v in found.values()} == {"insufficient"}
    empty = verdicts(reference, {}, 0)
    assert {v.verdict for v in empty.values()} == {"insufficient"}


@pytest.mark.parametrize("n", [1, 2, 50, 99, 199, 400])
def test_a_short_reference_is_said_to_be_short(n: int) -> None:
    rng = np.random.default_rng(7)
    reference = baseline(rows(rng, n), rows_per_hour=10)
    found = verdicts(reference, rows(rng, M, score=numbers(rng.standard_normal(M) + 9)), M)
    assert {v.verdict for v in found.values()} == {"reference_too_short"}


def test_a_scale_the_reference_spans_less_than_eight_times_is_not_judged(reference: Baseline) -> None:
    assert reference.scales == [1]
    rng = np.random.default_rng(8)
    found = verdicts(reference, rows(rng, M, score=numbers(rng.standard_normal(M) + 9)), M, scale=5)
    assert {v.verdict for v in found.values()} == {"reference_too_short"}
    assert not any(test.drifted for v in found.values() for test in v.tests.values())


def test_the_significances_of_a_week_add_up_to_the_budget() -> None:
    rng = np.random.default_rng(9)
    n = 20_000
    monitor = Monitor("m", window="1h", budget=2.0)
    reference = baseline(
        {f"f{i}": numbers(rng.standard_normal(n)) for i in range(5)}, rows_per_hour=100, monitor=monitor
    )
    rule = Rule(reference, Layout(reference), monitor)
    assert rule.scales == [1, 5, 25]
    tests_a_week = {1: 168, 5: 168, 25: 168 / 5}
    total = sum(rule.significance(k) * windows * 5 * reference.n_series for k, windows in tests_a_week.items())
    assert total == pytest.approx(2.0)
    assert reference.n_series == 6


def test_sensitivity_moves_the_gates(reference: Baseline) -> None:
    rng = np.random.default_rng(10)
    columns = rows(rng, 20_000, score=numbers(rng.standard_normal(20_000) + 0.1))
    at = {
        s: "score" in drifted(verdicts(reference, columns, 20_000, monitor=Monitor("m", window="1h", sensitivity=s)))
        for s in ("high", "default", "strict")
    }
    assert at == {"high": True, "default": False, "strict": False}


def test_a_fixed_limit_alarms_beside_the_rule(reference: Baseline) -> None:
    columns = rows(np.random.default_rng(18), M)
    at = {}
    for threshold in (0.001, 0.5):
        wanted = FeatureMonitor(statistics=[FixedLimit("psi", threshold)])
        found = verdicts(reference, columns, M, monitor=Monitor("m", window="1h", features={"score": wanted}))
        at[threshold] = (found["score"].verdict, found["score"].reason)
        assert found["score"].tests["limit:psi"].line == threshold
    assert at == {0.001: ("drift", "limit:psi"), 0.5: ("ok", "")}


def test_a_limit_on_an_unknown_statistic_is_refused_by_name(reference: Baseline) -> None:
    monitor = Monitor("m", features={"score": FeatureMonitor(statistics=[FixedLimit("entropy", 1.0)])})
    with pytest.raises(UnknownStatistic, match=r"features\.score\.statistics.*psi, ks"):
        Rule(reference, Layout(reference), monitor)


def test_a_feature_the_monitor_comes_to_ignore_is_not_judged(reference: Baseline) -> None:
    monitor = Monitor("m", window="1h", features={"score": FeatureMonitor(ignore=True)})
    found = verdicts(reference, rows(np.random.default_rng(19), M), M, monitor=monitor)
    assert set(found) == set(reference.features) - {"score"}


def test_dependence_in_the_reference_widens_the_lines() -> None:
    rng = np.random.default_rng(11)
    noise = rng.standard_normal(20_000)
    walk = np.zeros(20_000)
    for i in range(1, 20_000):
        walk[i] = 0.9 * walk[i - 1] + noise[i]
    reference = baseline({"free": numbers(noise), "tied": numbers(walk)}, rows_per_hour=1000)
    found = verdicts(reference, {"free": numbers(noise[:1000]), "tied": numbers(walk[:1000])}, 1000)
    for test in ("psi", "ks", "location"):
        assert found["tied"].tests[test].line > 1.5 * found["free"].tests[test].line
    free, tied = (reference.features[name].calibration for name in ("free", "tied"))
    assert free is not None
    assert tied is not None
    assert free.pools[0].moments.l1 == pytest.approx(11, rel=0.2)
    assert tied.ks.variance > 5 * free.ks.variance


def test_effects_of_days_raise_the_lines() -> None:
    rng = np.random.default_rng(12)
    n_days, per_day = 12, 4800
    level = np.repeat(rng.standard_normal(n_days) * 0.3, per_day)
    times = np.arange(n_days * per_day) * (DAY_MS // per_day)
    values = rng.standard_normal(level.size)
    reference = build_baseline(
        {"flat": numbers(values), "daily": numbers(values + level)},
        times, baseline_id="m@1", model="m", monitor=HOURLY, source="test", created_ms=0,
    )  # fmt: skip
    calibration = reference.features["daily"].calibration
    assert calibration is not None
    assert calibration.days == n_days
    assert calibration.location is not None
    assert calibration.location.day_excess > 0
    other_day = rng.standard_normal(per_day)
    found = verdicts(reference, {"flat": numbers(other_day), "daily": numbers(other_day + 0.45)}, per_day)
    assert drifted(found) == set()
    assert found["daily"].tests["location"].line > 3 * found["flat"].tests["location"].line


def test_null_columns_and_identifiers_do_not_break_a_window() -> None:
    rng = np.random.default_rng(13)
    n = 4000
    columns = {
        "x": numbers(rng.standard_normal(n)),
        "id": labels(f"id-{i}" for i in range(n)),
        "null": numbers(np.full(n, np.nan)),
    }
    reference = baseline(columns, rows_per_hour=400)
    assert reference.skipped == {"null": "every reference row is missing or of an unusable type"}
    fresh = {"x": numbers(rng.standard_normal(400)), "id": labels(f"new-{i}" for i in range(400))}
    found = verdicts(reference, fresh, 400)
    assert {name: v.verdict for name, v in found.items()} == {"id": "ok", "x": "ok"}
    gone = {"x": fresh["x"], "id": labels([None] * 400)}
    assert drifted(verdicts(reference, gone, 400)) == {"id"}


def test_judging_is_deterministic_and_equals_a_kept_rule(reference: Baseline) -> None:
    layout = Layout(reference)
    counts = count(layout, rows(np.random.default_rng(14), M), M)
    before = counts.copy()
    first = judge(reference, layout, counts, rows=M, scale=1, monitor=HOURLY)
    rule = Rule(reference, layout, HOURLY)
    assert first == rule.score(counts, M) == rule.score(counts, M)
    assert counts.tolist() == before.tolist()


def test_judging_costs_at_most_a_fifth_of_a_millisecond_a_feature_even_on_a_busy_machine() -> None:
    rng = np.random.default_rng(15)
    reference = baseline({f"f{i}": numbers(rng.standard_normal(5000)) for i in range(50)}, rows_per_hour=500)
    layout = Layout(reference)
    rule = Rule(reference, layout, HOURLY)
    counts = count(layout, {f"f{i}": numbers(rng.standard_normal(500)) for i in range(50)}, 500)
    costs = []
    for _ in range(15):
        started = time.process_time()
        rule.score(counts, 500)
        costs.append(time.process_time() - started)
    assert min(costs) / 50 < 0.2e-3, "the target is 0.1 ms on a quiet machine"


@pytest.mark.slow
def test_false_alarms_stay_within_the_budget() -> None:
    rng = np.random.default_rng(16)
    m, n_features, weeks = 500, 50, 1
    names = [f"f{i}" for i in range(n_features)]
    reference = baseline({name: numbers(rng.standard_normal(20_000)) for name in names}, rows_per_hour=m)
    layout = Layout(reference)
    rule = Rule(reference, layout, HOURLY)
    alarms = 0
    for _ in range(weeks * WEEK_MS // HOUR_MS):
        columns = dict(zip(names, map(numbers, rng.standard_normal((n_features, m))), strict=True))
        alarms += sum(v.verdict == "drift" for v in rule.score(count(layout, columns, m), m))
    assert alarms <= 3, "at most 1 expected a week; more than 3 has a chance of 2 %"


def test_inflation_between_a_half_and_one_is_one() -> None:
    raw = np.array([2.0, 1.0, 0.7, 0.5, 0.4, 0.01])
    assert lines.inflation(raw, np.full(6, 0.1)).tolist() == pytest.approx([2.0, 1.0, 1.0, 1.0, 0.52, 0.1])


def test_severity_counts_a_share_that_changed_like_two_bins() -> None:
    assert explain.severity_of(explain.two_bins(0.01, 0.03)) == "minor"
    assert explain.severity_of(explain.two_bins(0.01, 0.9)) == "major"
