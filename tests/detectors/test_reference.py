"""Baselines from rows: what they hold, what they refuse, and that they travel bit for bit."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.errors import DetectorError, UnusableReference
from detectors.features import EDGE_LEVELS, choose_knots
from detectors.layout import Layout
from detectors.reference import build_baseline
from detectors.windows import MINUTE_MS
from schemas import baselines
from schemas.baselines import IncompatibleBaseline
from schemas.columns import Column
from schemas.monitors import FeatureMonitor, Monitor
from tests.detectors.rows import HOURLY, baseline, labels, numbers

RNG = np.random.default_rng(21)
COLUMNS = {
    "score": numbers(RNG.standard_normal(3000)),
    "amount": numbers(np.exp(RNG.standard_normal(3000)), np.float32),
    "city": labels(RNG.choice(["FR", "DE", "IT"], 3000, p=[0.5, 0.3, 0.2]).tolist()),
}


def test_a_baseline_round_trips_bit_for_bit() -> None:
    built = baseline(COLUMNS)
    data = baselines.encode(built)
    again = baselines.decode(data)
    assert again == built
    assert baselines.encode(again) == data
    for name, feature in built.features.items():
        assert again.features[name].knots.numpy().tobytes() == feature.knots.numpy().tobytes()
    assert Layout(again).slices == Layout(built).slices


def test_a_newer_format_is_refused_with_the_way_out() -> None:
    newer = msgspec.structs.replace(baseline(COLUMNS), format=baselines.FORMAT + 1)
    with pytest.raises(IncompatibleBaseline, match="upgrade driftgauge"):
        baselines.decode(baselines.encode(newer))


def test_a_field_that_a_newer_release_adds_is_ignored() -> None:
    plain = msgspec.msgpack.decode(baselines.encode(baseline(COLUMNS)))
    assert baselines.decode(msgspec.msgpack.encode({**plain, "added_later": 1})) == baseline(COLUMNS)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"{}", msgspec.msgpack.encode({"format": 1})])
def test_bytes_that_are_no_baseline_are_refused(data: bytes) -> None:
    with pytest.raises(IncompatibleBaseline, match="not a baseline"):
        baselines.decode(data)


def test_rows_are_put_in_event_time_order_first() -> None:
    times = np.arange(3000, dtype=np.int64) * MINUTE_MS
    order = np.random.default_rng(3).permutation(3000)
    shuffled = {name: column.take(order) for name, column in COLUMNS.items()}
    same = {"baseline_id": "m@1", "model": "m", "monitor": HOURLY, "source": "s", "created_ms": 5}
    assert build_baseline(COLUMNS, times, **same) == build_baseline(shuffled, times[order], **same)  # type: ignore[arg-type]  # one dict of mixed types


def test_features_stand_in_a_fixed_order() -> None:
    assert list(baseline(COLUMNS).features) == sorted(COLUMNS)
    assert list(baseline(dict(reversed(COLUMNS.items()))).features) == sorted(COLUMNS)


def test_a_baseline_says_what_it_saw_in_plain_words() -> None:
    built = baseline(COLUMNS)
    assert built.features["city"].before.startswith("FR 5")
    assert built.features["score"].before.startswith("mean ")
    assert built.features["score"].bins[0].startswith("<= ")
    assert sum(built.features["score"].bin_counts) == 3000
    assert (built.number, built.window_reason) == (1, "1h: set in the monitor")


def test_the_monitor_decides_types() -> None:
    monitor = Monitor(
        "m",
        window="1h",
        features={
            "city": FeatureMonitor(ignore=True),
            "score": FeatureMonitor(type="text"),
            "amount": FeatureMonitor(type="categorical"),
        },
    )
    built = baseline(COLUMNS, monitor=monitor)
    assert list(built.features) == ["amount"]
    assert built.features["amount"].kind == "categorical"
    assert set(built.skipped) == {"city", "score"}
    assert "text" in built.skipped["score"]


def test_no_rows_are_refused() -> None:
    with pytest.raises(UnusableReference, match="no rows"):
        baseline({"x": numbers([])})


def test_a_reference_without_a_usable_column_is_refused_and_says_why() -> None:
    with pytest.raises(UnusableReference, match="x: every reference row is missing"):
        baseline({"x": numbers([np.nan] * 10)})
    with pytest.raises(DetectorError, match="no columns"):
        build_baseline({}, np.arange(3), baseline_id="m@1", model="m", monitor=HOURLY, source="s", created_ms=0)


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(UnusableReference, match="'y' has 2 rows"):
        baseline({"x": numbers([1.0, 2.0, 3.0]), "y": numbers([1.0, 2.0])})


def test_a_baseline_id_without_a_number_is_refused() -> None:
    with pytest.raises(UnusableReference, match="@number"):
        build_baseline(COLUMNS, np.arange(3000), baseline_id="m", model="m", monitor=HOURLY, source="s", created_ms=0)


@given(
    st.lists(st.one_of(st.integers(-3, 3).map(float), st.floats(allow_nan=False)), min_size=1, max_size=400),
    st.sampled_from([0, 5, 50]),
)
@settings(max_examples=150, deadline=None)
def test_knots_are_reference_values_that_rise_and_hold_the_edges(values: list[float], n_knots: int) -> None:
    ordered = np.sort(np.array(values))
    knots, edges = choose_knots(ordered, n_knots)
    assert np.all(knots[1:] > knots[:-1])
    assert set(knots.tolist()) <= set(values)
    assert knots[0] == ordered[0]
    assert knots[-1] == ordered[-1]
    assert np.all(knots[edges] < ordered[-1])
    assert len(edges) <= len(EDGE_LEVELS)
    inside = knots.searchsorted(ordered, "left") * 2 + (np.isin(ordered, knots))
    gaps = np.bincount(inside // 2 * (inside % 2 == 0), minlength=1)[1:]
    if n_knots and gaps.size:
        assert gaps.max() < len(values) / (n_knots + 1)


def test_one_row_and_one_value_make_a_baseline() -> None:
    built = baseline({"x": numbers([3.0]), "y": labels(["a"])})
    assert built.features["x"].sd == 0.0
    assert built.scales == []


def test_extreme_values_keep_the_moments_finite() -> None:
    wild = Column(np.array([1e308, -1e308, np.inf, 0.0] * 100))
    feature = baseline({"x": wild}).features["x"]
    assert np.isfinite([feature.mean, feature.sd]).all()
    assert feature.sd > 0
