"""The metrics: named as the contract says, bounded whatever arrives, right after every change."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from schemas import results
from schemas.results import FeatureVerdict, Result
from streams.sinks import metrics
from streams.sinks.prometheus import MAX_WORDS, Metrics
from tests.real import require_real
from tests.sinks.alerts import alert

CONTRACT = {
    "drift_effect": {"model", "slice", "feature", "statistic"},
    "drift_threshold": {"model", "slice", "feature", "statistic"},
    "drift_state": {"model", "slice", "feature"},
    "rows_total": {"model"},
    "late_rows_total": {"model"},
    "missing_ratio": {"model", "slice", "feature"},
    "type_errors_total": {"model"},
    "window_rows": {"model", "slice"},
    "alerts_total": {"severity"},
    "alerts_open": set(),
    "lag_records": {"role", "topic", "partition"},
    "event_to_result_seconds": set(),
    "checkpoint_seconds": set(),
    "dead_letters_total": {"reason"},
    "sink_retries_total": {"sink"},
    "last_event_timestamp_seconds": {"model"},
    "performance": {"model", "slice", "metric"},
    "llm_tokens_total": {"model", "direction"},
    "llm_cost_dollars_total": {"model"},
}
WINDOW_MS = 60_000
END_MS = 1_772_366_400_000
PSI = results.Test(value=0.214, noise=0.006, line=0.041, effect=0.208, drifted=True)
RESULT = Result(
    run_id="live",
    model="m",
    version="7",
    slice="",
    scale=1,
    window_start=END_MS - WINDOW_MS,
    window_end=END_MS,
    revision=0,
    sealed=False,
    rows=400,
    late_rows=0,
    baseline_id="m@1",
    monitor_version=1,
    state="drift",
    features=[FeatureVerdict(feature="income", verdict="drift", tests={"psi": PSI}, rows=400, missing=100)],
)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def exported(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def result(later: int = 0, **changes: Any) -> Result:
    start = RESULT.window_start + later * WINDOW_MS
    return msgspec.structs.replace(RESULT, **{"window_start": start, "window_end": start + WINDOW_MS, **changes})


def verdict(feature: str = "income", **changes: Any) -> FeatureVerdict:
    return msgspec.structs.replace(RESULT.features[0], feature=feature, **changes)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(metrics.PREFIX + name, labels)


BEYOND_THE_CONTRACT = {
    "checkpoint_age_seconds",
    "checkpoint_bytes",
    "ingest_pause_seconds",
    "loop_stall_seconds",
    "stuck_seconds",
    "late_after_final_total",
    "limited_total",
    "series_dropped_total",
    "state_lost_records_total",
    "tombstones_total",
}


def series(registry: CollectorRegistry, **labels: str) -> set[tuple[str, ...]]:
    return {
        (sample.name.removeprefix(metrics.PREFIX), *sample.labels.values())
        for family in registry.collect()
        for sample in family.samples
        if labels.items() <= sample.labels.items() and not sample.name.endswith("_created")
    }


def test_names_and_labels_are_those_of_the_contract() -> None:
    ours = {one.name: set(one.labels) for one in metrics.ALL}
    assert {name: ours.get(name) for name in CONTRACT} == CONTRACT
    assert ours.keys() - CONTRACT.keys() == BEYOND_THE_CONTRACT
    assert len(ours) == len(metrics.ALL)


def test_every_metric_says_what_it_means_and_what_to_do() -> None:
    for one in metrics.ALL:
        assert one.meaning.endswith(".")
        assert one.remedy.endswith(".")
        assert (one.kind == "counter") == one.name.endswith("_total")
        for name in re.findall(r"\b[a-z]+_(?:[a-z]+_)*[a-z]+\b", one.help):
            assert name in {other.name for other in metrics.ALL}, f"the help of {one.name} names {name}"


def test_promtool_finds_nothing_wrong(registry: CollectorRegistry, exported: Metrics) -> None:
    promtool = require_real("promtool")
    exported.observe_result(result(), END_MS + 500)
    exported.observe_alert(alert())
    exported.rows("m", 3, END_MS)
    exported.checkpoint(0.1, 1_000)
    exported.lag("detect", "drift.events.v1", 0, 5)
    exported.dead_letter("not_json")
    exported.retry("slack")
    exported.performance("m", "", "accuracy", 0.9)
    exported.llm("m", n_tokens_in=3, n_tokens_out=4, dollars=0.01)
    text = generate_latest(registry)
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_result_shows_effect_line_state_missing_and_rows(registry: CollectorRegistry, exported: Metrics) -> None:
    exported.observe_result(result(), END_MS + 500)
    income = {"model": "m", "slice": "", "feature": "income"}
    assert value(registry, "drift_effect", **income, statistic="psi") == 0.208
    assert value(registry, "drift_threshold", **income, statistic="psi") == 0.041
    assert value(registry, "drift_state", **income) == 1
    assert value(registry, "missing_ratio", **income) == 0.25
    assert value(registry, "window_rows", model="m", slice="") == 400
    assert value(registry, "event_to_result_seconds_sum") == 0.5


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        (["ok"], 0),
        (["drift"], 1),
        (["insufficient"], 2),
        (["no_baseline"], 2),
        (["reference_too_short"], 2),
        (["ok", "drift"], 1),
        (["drift", "ok"], 1),
        (["insufficient", "ok"], 0),
    ],
)
def test_the_state_is_the_worst_over_all_scales(
    registry: CollectorRegistry, exported: Metrics, verdicts: list[str], state: int
) -> None:
    for scale, one in zip((1, 5), verdicts, strict=False):
        exported.observe_result(result(scale=scale, features=[verdict(verdict=one)]), END_MS)
    assert value(registry, "drift_state", model="m", slice="", feature="income") == state


def test_the_effect_is_of_the_scale_nearest_its_line(registry: CollectorRegistry, exported: Metrics) -> None:
    weak = verdict(tests={"psi": results.Test(value=0.03, noise=0.01, line=0.1, effect=0.02)})
    strong = verdict(tests={"psi": results.Test(value=0.02, noise=0.005, line=0.01, effect=0.015, drifted=True)})
    exported.observe_result(result(scale=1, features=[weak]), END_MS)
    exported.observe_result(result(scale=25, features=[strong]), END_MS)
    income = {"model": "m", "slice": "", "feature": "income", "statistic": "psi"}
    assert value(registry, "drift_effect", **income) == 0.015
    assert value(registry, "drift_threshold", **income) == 0.01
    assert value(registry, "window_rows", model="m", slice="") == 400


def test_older_windows_older_revisions_and_replays_change_nothing(
    registry: CollectorRegistry, exported: Metrics
) -> None:
    exported.observe_result(result(1, rows=2, revision=4), END_MS + WINDOW_MS)
    before = generate_latest(registry)
    exported.observe_result(result(0, rows=9), END_MS)
    exported.observe_result(result(1, rows=9, revision=3), END_MS)
    exported.observe_result(result(2, rows=9, run_id="replay-1"), END_MS)
    assert generate_latest(registry) == before


def test_a_revision_corrects_the_window_and_is_not_timed_again(registry: CollectorRegistry, exported: Metrics) -> None:
    exported.observe_result(result(), END_MS + 500)
    exported.observe_result(result(rows=500, revision=2), END_MS + 60_000)
    assert value(registry, "window_rows", model="m", slice="") == 500
    assert value(registry, "event_to_result_seconds_count") == 1


def test_a_feature_or_test_that_is_gone_leaves_no_series(registry: CollectorRegistry, exported: Metrics) -> None:
    exported.observe_result(result(features=[verdict("a"), verdict("b")]), END_MS)
    exported.observe_result(result(1, features=[verdict("a", tests={"ks": PSI})]), END_MS)
    assert series(registry, feature="b") == set()
    assert {one[-1] for one in series(registry, feature="a") if one[0] == "drift_effect"} == {"ks"}


def test_features_beyond_the_limit_are_counted_and_not_exported(registry: CollectorRegistry) -> None:
    exported = Metrics(registry, max_features_per_model=3)
    many = [verdict(f"f{n}") for n in range(10)]
    exported.observe_result(result(features=many), END_MS)
    exported.observe_result(result(slice="country=FR", features=many), END_MS)
    assert len({one[3] for one in series(registry, model="m") if one[0] == "drift_state"}) == 3
    assert value(registry, "series_dropped_total", limit="features") == 14
    exported.observe_result(result(1, features=many[7:]), END_MS)
    exported.observe_result(result(1, slice="country=FR", features=many[7:]), END_MS)
    exported.observe_result(result(2, features=many[7:]), END_MS)
    assert {one[3] for one in series(registry, slice="") if one[0] == "drift_state"} == {"f7", "f8", "f9"}


def test_models_and_slices_beyond_the_limit_are_counted_and_not_exported(registry: CollectorRegistry) -> None:
    exported = Metrics(registry, max_models=2, max_slices_per_model=2)
    for n in range(5):
        exported.rows(f"m{n}", 1)
        exported.observe_result(result(model="m0", slice=f"s{n}"), END_MS)
        exported.performance("m0", f"p{n}", "accuracy", 1.0)
    assert {one[1] for one in series(registry) if one[0] == "rows_total"} == {"m0", "m1"}
    assert {one[2] for one in series(registry, model="m0") if one[0] == "drift_state"} == {"s0"}
    assert {one[2] for one in series(registry, model="m0") if one[0] == "performance"} == {"p0"}
    assert value(registry, "series_dropped_total", limit="models") == 3
    assert value(registry, "series_dropped_total", limit="slices") == 8


def test_words_beyond_the_limit_become_other(registry: CollectorRegistry, exported: Metrics) -> None:
    for n in range(MAX_WORDS + 7):
        exported.dead_letter(f"reason-{n}")
        exported.retry(f"sink-{n}")
        exported.performance("m", "", f"metric-{n}", 1.0)
    assert value(registry, "dead_letters_total", reason="other") == 7
    assert value(registry, "sink_retries_total", sink="other") == 7
    assert len([one for one in series(registry) if one[0] == "performance"]) == MAX_WORDS + 1


def test_forgetting_a_model_removes_every_series_of_it_and_no_other(
    registry: CollectorRegistry, exported: Metrics
) -> None:
    for model in ("m", "n"):
        exported.rows(model, 1, END_MS)
        exported.late_rows(model, 1)
        exported.type_errors(model, 1)
        exported.observe_result(result(model=model), END_MS)
        exported.performance(model, "", "accuracy", 1.0)
        exported.llm(model, n_tokens_in=1, n_tokens_out=1, dollars=1.0)
    expected = {(one[0], "m", *one[2:]) for one in series(registry, model="n")}
    assert series(registry, model="m") == expected
    assert {one[0] for one in expected} == {one.name for one in metrics.ALL if "model" in one.labels}
    exported.forget("n")
    exported.forget("n")
    assert series(registry, model="n") == set()
    assert series(registry, model="m") == expected
    exported.rows("n", 5)
    assert value(registry, "rows_total", model="n") == 5


def test_the_lag_of_a_lost_partition_is_removed(registry: CollectorRegistry, exported: Metrics) -> None:
    exported.lag("store", "drift.results.v1", 0, 7)
    exported.lag("store", "drift.results.v1", 1, 8)
    exported.checkpoint_age("store", "drift.results.v1", 0, 2.5)
    assert value(registry, "checkpoint_age_seconds", role="store", topic="drift.results.v1", partition="0") == 2.5
    exported.forget_partition("store", "drift.results.v1", 0)
    exported.forget_partition("store", "drift.results.v1", 5)
    assert {one for one in series(registry) if one[0] in ("lag_records", "checkpoint_age_seconds")} == {
        ("lag_records", "store", "drift.results.v1", "1")
    }


def test_alerts_are_counted_once_and_open_until_they_are_not(registry: CollectorRegistry, exported: Metrics) -> None:
    for _ in range(2):
        exported.observe_alert(alert())
    assert value(registry, "alerts_total", severity="moderate") == 1
    assert value(registry, "alerts_open") == 1
    exported.observe_alert(alert(sequence=3, state="resolved", previous="open"))
    exported.observe_alert(alert(sequence=2, state="acknowledged", previous="open"))
    assert value(registry, "alerts_open") == 0
    exported.observe_alert(alert(episode_id="other", severity=""))
    assert value(registry, "alerts_total", severity="none") == 1
    exported.observe_alert(alert(episode_id="other", sequence=2, state="silenced", previous="open"))
    assert value(registry, "alerts_open") == 0


def test_the_newest_event_never_goes_back(registry: CollectorRegistry, exported: Metrics) -> None:
    exported.rows("m", 2, 5_000)
    exported.rows("m", 2, 4_000)
    exported.rows("m", 2)
    assert value(registry, "last_event_timestamp_seconds", model="m") == 5.0
    assert value(registry, "rows_total", model="m") == 6


def test_a_checkpoint_shows_time_and_size(registry: CollectorRegistry, exported: Metrics) -> None:
    exported.checkpoint(0.25, 4_096)
    assert value(registry, "checkpoint_seconds_sum") == 0.25
    assert value(registry, "checkpoint_bytes") == 4_096
    exported.pause("checkpoint", 0.05)
    exported.loop_stall(0.02)
    exported.stuck(3.0)
    assert value(registry, "ingest_pause_seconds_sum", cause="checkpoint") == 0.05
    assert value(registry, "loop_stall_seconds_sum") == 0.02
    assert value(registry, "stuck_seconds") == 3.0
