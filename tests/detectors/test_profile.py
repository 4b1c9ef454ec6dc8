"""The integer profile: exact, and free of order, batching and sharding."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from detectors import profile, views
from detectors.layout import Layout, NumericLayout
from detectors.statistics import STATISTICS
from schemas.columns import Column
from schemas.monitors import FeatureMonitor, Monitor
from tests.detectors.rows import HOURLY, baseline, count, labels, numbers

RNG = np.random.default_rng(7)
REFERENCE = {
    "amount": numbers(np.exp(RNG.standard_normal(1000))),
    "city": labels(RNG.choice(["Paris", "Lyon", "Lille"], 1000, p=[0.6, 0.3, 0.1]).tolist()),
    "flag": numbers(RNG.integers(0, 3, 1000)),
}
BASELINE = baseline(REFERENCE)
LAYOUT = Layout(BASELINE)

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1e300, -1e300, 5e-324]
FLOATS = st.one_of(st.sampled_from(SPECIAL), st.floats(allow_nan=True, width=32))
ROWS = st.lists(
    st.tuples(FLOATS, st.sampled_from([None, "Paris", "Lyon", "Oslo", "Rome", ""]), st.integers(-1, 4)),
    min_size=1,
    max_size=60,
)


def columns_of(rows: list[tuple[float, str | None, int]]) -> dict[str, Column]:
    return {
        "amount": numbers([row[0] for row in rows]),
        "city": labels(row[1] for row in rows),
        "flag": numbers([row[2] for row in rows]),
    }


@given(ROWS, st.lists(st.integers(1, 59), max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_batching_sharding_and_order_give_the_same_vector(rows: list[Any], cuts: list[int], random: Any) -> None:
    whole = count(LAYOUT, columns_of(rows), len(rows))
    assert count(LAYOUT, columns_of(rows), len(rows), cuts).tolist() == whole.tolist()
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert count(LAYOUT, columns_of(shuffled), len(rows)).tolist() == whole.tolist()
    shards = [rows[i::3] for i in range(3)]
    merged = LAYOUT.zeros()
    for shard in shards:
        if shard:
            merged = profile.merge(merged, count(LAYOUT, columns_of(shard), len(shard)))
    assert merged.tolist() == whole.tolist()


@given(ROWS)
@settings(max_examples=150, deadline=None)
def test_every_row_is_counted_once_per_feature(rows: list[Any]) -> None:
    counts = count(LAYOUT, columns_of(rows), len(rows))
    for part in LAYOUT.features.values():
        used = views.n_used(part, counts)
        assert used + int(counts[part.missing]) + int(counts[part.type_errors]) == len(rows)


@given(ROWS, st.lists(st.integers(0, 59), max_size=4))
@settings(max_examples=80, deadline=None)
def test_unseen_levels_do_not_depend_on_batching(rows: list[Any], cuts: list[int]) -> None:
    whole = profile.unseen_levels(LAYOUT, columns_of(rows))
    merged: profile.Unseen = {}
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(rows)), len(rows)]
    for begin, end in pairwise(edges):
        merged = profile.merge_unseen(profile.unseen_levels(LAYOUT, columns_of(rows[begin:end])), merged)
    assert merged == whole


def test_the_list_of_unseen_levels_is_bounded_and_exact_under_merging() -> None:
    values = [f"v{i % 97}" for i in range(1000)]
    whole = profile.unseen_levels(LAYOUT, {"city": labels(values)})["city"]
    assert len(whole) == profile.N_UNSEEN
    assert whole == {level: values.count(level) for level in whole}
    merged: profile.Unseen = {}
    for i in range(0, 1000, 13):
        merged = profile.merge_unseen(merged, profile.unseen_levels(LAYOUT, {"city": labels(values[i : i + 13])}))
    assert merged == {"city": whole}


@given(st.lists(FLOATS, min_size=1, max_size=80), st.lists(FLOATS, min_size=2, max_size=80))
@settings(max_examples=150, deadline=None)
def test_float32_values_count_as_their_exact_values(current: list[float], reference: list[float]) -> None:
    known = [value for value in reference if not np.isnan(value)] or [0.1]
    known.append(0.1)
    layout = Layout(baseline({"x": numbers(known)}, n_knots=0))
    narrow = np.array(current, np.float64).clip(-3e38, 3e38).astype(np.float32)
    exact = narrow.astype(np.float64)
    n = len(current)
    assert count(layout, {"x": Column(narrow)}, n).tolist() == count(layout, {"x": Column(exact)}, n).tolist()


def ks_of(reference: Any, current: Any, n_knots: int) -> float:
    layout = Layout(baseline({"x": numbers(reference)}, n_knots=n_knots))
    counts = count(layout, {"x": numbers(current)}, len(current))
    part = layout.features["x"]
    return float(STATISTICS["ks"](part.feature.counts.numpy(), counts[part.cells]))


SAMPLES = {
    "normal": (RNG.standard_normal(700), RNG.standard_normal(300) + 0.2),
    "ties": (RNG.integers(0, 5, 700).astype(float), RNG.integers(1, 7, 300).astype(float)),
    "infinities": (
        np.where(RNG.random(700) < 0.1, np.inf, RNG.standard_normal(700)),
        np.where(RNG.random(300) < 0.3, -np.inf, RNG.standard_normal(300)),
    ),
    "negative zero": (np.where(RNG.random(700) < 0.5, 0.0, 1.0), np.where(RNG.random(300) < 0.5, -0.0, 1.0)),
    "constant that wakes": (np.full(700, 3.0), RNG.standard_normal(300) + 3),
    "constants": (np.full(700, 3.0), np.full(300, 3.0)),
    "inside the gaps": (np.arange(700.0), np.arange(300.0) + 0.5),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_exact_knots_give_scipys_ks(name: str) -> None:
    reference, current = SAMPLES[name]
    expected = stats.ks_2samp(reference, current, method="asymp").statistic
    assert ks_of(reference, current, 0) == pytest.approx(expected, abs=1e-12)


@given(
    st.lists(st.one_of(st.sampled_from(SPECIAL[1:]), st.floats(allow_nan=False)), min_size=2, max_size=60),
    st.lists(st.one_of(st.sampled_from(SPECIAL[1:]), st.floats(allow_nan=False)), min_size=1, max_size=60),
)
@settings(max_examples=150, deadline=None)
def test_exact_knots_give_scipys_ks_for_any_values(reference: list[float], current: list[float]) -> None:
    expected = stats.ks_2samp(reference, current, method="asymp").statistic
    assert ks_of(reference, current, 0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_knots", [20, 200])
def test_ks_from_quantile_knots_is_low_by_less_than_a_gap(n_knots: int) -> None:
    rng = np.random.default_rng(3)
    for shift in (0.0, 0.1, 1.0):
        reference, current = rng.standard_normal(5000), rng.standard_normal(800) + shift
        exact = stats.ks_2samp(reference, current, method="asymp").statistic
        assert exact - 1 / (n_knots + 1) <= ks_of(reference, current, n_knots) <= exact + 1e-12


def test_psi_equals_the_formula_on_raw_rows() -> None:
    rng = np.random.default_rng(5)
    reference, current = rng.standard_normal(3000), rng.standard_normal(700) * 1.3
    layout = Layout(baseline({"x": numbers(reference)}))
    part = layout.features["x"]
    counts = count(layout, {"x": numbers(current)}, 700)
    edges = np.sort(reference)[[29, *range(299, 2999, 300), 2969]]
    n = np.bincount(np.searchsorted(edges, reference), minlength=12)
    m = np.bincount(np.searchsorted(edges, current), minlength=12)
    p, q = (n + 0.5) / 3006, (m + 0.5) / 706
    assert views.bin_counts(part, counts) == m.tolist()
    assert part.feature.bin_counts == n.tolist()
    assert float(STATISTICS["psi"](n, m)) == pytest.approx(float(((q - p) * np.log(q / p)).sum()), abs=1e-12)


def test_moments_of_a_window_are_those_of_its_rows() -> None:
    rng = np.random.default_rng(6)
    values = np.exp(rng.standard_normal(5000))
    part = LAYOUT.features["amount"]
    assert isinstance(part, NumericLayout)
    mean, sd = views.mean_sd(part, count(LAYOUT, {"amount": numbers(values)}, 5000))
    assert mean == pytest.approx(values.mean(), rel=1e-3)
    assert sd == pytest.approx(values.std(ddof=1), rel=1e-3)


def test_absent_columns_are_missing_and_unknown_ones_are_counted() -> None:
    counts = count(LAYOUT, {"other": numbers([1.0, 2.0])}, 2)
    assert [int(counts[part.missing]) for part in LAYOUT.features.values()] == [2, 2, 2]
    assert profile.unknown_features(LAYOUT, {"other": numbers([1.0]), "city": labels(["Lyon"])}) == 1


def test_ignored_features_are_not_unknown() -> None:
    monitor = Monitor("m", window="1h", features={"flag": FeatureMonitor(ignore=True)})
    layout = Layout(baseline(REFERENCE, monitor=monitor))
    assert "flag" not in layout.names
    assert profile.unknown_features(layout, REFERENCE) == 0


def test_numbers_among_labels_and_labels_among_numbers_are_type_errors() -> None:
    both = Column(np.array([1.0, np.nan, np.nan]), np.array([-1, 0, -1], np.int32), ("Paris",), 0)
    counts = count(LAYOUT, {"amount": both, "city": both}, 3)
    for name in ("amount", "city"):
        part = LAYOUT.features[name]
        assert (views.n_used(part, counts), int(counts[part.type_errors]), int(counts[part.missing])) == (1, 1, 1)


def test_invalid_values_are_type_errors_in_whichever_batch_they_stand() -> None:
    invalid = np.arange(20) % 3 == 0
    column = numbers(np.where(invalid, np.nan, 1.0)).with_invalid(invalid)
    whole = count(LAYOUT, {"amount": column}, 20)
    assert int(whole[LAYOUT.features["amount"].type_errors]) == 7
    assert int(whole[LAYOUT.features["amount"].missing]) == 0
    assert count(LAYOUT, {"amount": column}, 20, [1, 4, 5, 13]).tolist() == whole.tolist()
    feature = baseline({"x": column}).features["x"]
    assert (feature.type_errors.n, feature.missing.n, feature.rows) == (7, 0, 13)


def test_coded_numbers_become_levels_when_the_monitor_says_so() -> None:
    monitor = Monitor("m", window="1h", features={"flag": FeatureMonitor(type="categorical")})
    layout = Layout(baseline(REFERENCE, monitor=monitor))
    assert sorted(layout.features["flag"].feature.levels) == ["0", "1", "2"]
    counts = count(layout, {"flag": Column(np.array([0, 1, 1, 7], np.float32))}, 4)
    part = layout.features["flag"]
    assert views.n_used(part, counts) == 4
    assert views.bin_counts(part, counts)[-1] == 1
    assert profile.unseen_levels(layout, {"flag": numbers([7.0, 7.0, 1.0])}) == {"flag": {"7": 2}}


def test_sensitive_levels_never_stand_in_clear() -> None:
    monitor = Monitor("m", window="1h", features={"city": FeatureMonitor(sensitive=True)})
    hidden = baseline(REFERENCE, monitor=monitor)
    assert "Paris" not in repr(hidden)
    layout = Layout(hidden)
    columns = {"city": labels(["Paris", "Atlantis"])}
    counts = count(layout, columns, 2)
    assert "Atlantis" not in repr(profile.unseen_levels(layout, columns))
    assert views.bin_counts(layout.features["city"], counts)[-1] == 1


def test_sensitive_numbers_are_told_by_rank_only() -> None:
    monitor = Monitor("m", window="1h", features={"amount": FeatureMonitor(sensitive=True)})
    feature = baseline(REFERENCE, monitor=monitor).features["amount"]
    assert feature.before == "not shown: sensitive"
    assert feature.bins[:2] == ["lowest 1 %", "1-10 %"]
    layout = Layout(baseline(REFERENCE, monitor=monitor))
    assert views.in_words(layout.features["amount"], count(layout, REFERENCE, 1000)) == feature.before


def test_nearly_distinct_labels_are_counted_but_not_binned() -> None:
    layout = Layout(baseline({"id": labels(f"id-{i}" for i in range(3000))}))
    part = layout.features["id"]
    assert part.feature.levels == []
    counts = count(layout, {"id": labels([None, "id-1", "new"])}, 3)
    assert views.n_used(part, counts) == 2
    assert profile.unseen_levels(layout, {"id": labels(["new"])}) == {}


def test_levels_beyond_the_cap_share_one_bin() -> None:
    rng = np.random.default_rng(8)
    layout = Layout(baseline({"sku": labels(map(str, rng.integers(0, 3000, 30_000).tolist()))}))
    part = layout.features["sku"]
    assert len(part.feature.levels) == 1000
    assert part.feature.n_other + int(part.feature.counts.numpy().sum()) == 30_000


def calls(n_rows: int) -> int:
    rng = np.random.default_rng(9)
    columns = {
        "amount": numbers(rng.standard_normal(n_rows), np.float32),
        "city": labels(rng.choice(["Paris", "Lyon", "Oslo"], n_rows).tolist()),
        "flag": numbers(rng.integers(0, 3, n_rows)),
    }
    counts = LAYOUT.zeros()
    seen = 0

    def tally(frame: Any, event: str, argument: Any) -> None:
        nonlocal seen
        del frame, argument
        seen += event in ("call", "c_call")

    sys.setprofile(tally)
    try:
        profile.add(LAYOUT, counts, columns, n_rows)
        profile.unseen_levels(LAYOUT, columns)
    finally:
        sys.setprofile(None)
    return seen


def test_counting_ten_times_the_rows_makes_no_more_python_calls() -> None:
    calls(1_000)  # the grids are made once
    assert calls(10_000) <= 1.1 * calls(1_000)


def test_large_blocks_are_exact() -> None:
    n = profile.MAX_BLOCK + 5
    layout = Layout(baseline({"x": numbers([0.0, 1.0])}, monitor=HOURLY))
    part = layout.features["x"]
    assert isinstance(part, NumericLayout)
    counts = count(layout, {"x": numbers(np.full(n, 1e9))}, n)
    assert int(counts[part.sum1]) == n * 128 * 1024
    assert int(counts[part.sum2]) == n * (128 * 1024) ** 2
