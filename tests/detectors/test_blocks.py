"""Block means are a function of the rows in order, whatever the batches."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.blocks import SCALE, BlockMeans, choose_blocks
from detectors.errors import IncompatibleState
from detectors.layout import STEP, Layout, NumericLayout
from schemas.columns import Column
from tests.detectors.rows import baseline, labels, numbers

RNG = np.random.default_rng(11)
BASELINE = baseline(
    {
        "x": numbers(RNG.standard_normal(4000) * 3 + 10),
        "still": numbers(np.full(4000, 2.0)),
        "city": labels(RNG.choice(["a", "b"], 4000).tolist()),
    }
)
LAYOUT = Layout(BASELINE)
VALUES = st.lists(st.one_of(st.floats(-1e3, 1e3), st.sampled_from([np.nan, np.inf, -np.inf])), min_size=1, max_size=150)


def blocks_of(values: Any, times: Any, cuts: list[int], restarts: bool = False) -> tuple[list[int], list[int], Any]:
    blocks = BlockMeans(LAYOUT)
    found_times: list[int] = []
    found: list[int] = []
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(values)), len(values)]
    for begin, end in pairwise(edges):
        if restarts:
            state = blocks.snapshot()
            blocks = BlockMeans(LAYOUT)
            blocks.restore(state)
        done = blocks.add({"x": numbers(values[begin:end])}, np.array(times[begin:end], np.int64))
        if "x" in done:
            assert done["x"][1].dtype == np.int16
            found_times.extend(done["x"][0].tolist())
            found.extend(done["x"][1].tolist())
    return found_times, found, blocks.snapshot()


@given(VALUES, st.lists(st.integers(1, 149), max_size=8), st.data())
@settings(max_examples=200, deadline=None)
def test_blocks_do_not_depend_on_batches_or_restarts(values: list[float], cuts: list[int], data: Any) -> None:
    times = data.draw(st.lists(st.integers(0, 10**12), min_size=len(values), max_size=len(values)))
    whole = blocks_of(values, times, [])
    assert blocks_of(values, times, cuts) == whole
    assert blocks_of(values, times, cuts, restarts=True) == whole
    assert blocks_of(values, times, list(range(150))) == whole


def test_a_block_is_the_standardised_mean_of_its_finite_values() -> None:
    values = RNG.standard_normal(64) * 3 + 11
    with_gaps = np.insert(values, [5, 20, 20], [np.nan, np.inf, np.nan])
    times = np.arange(67)
    _, found, _ = blocks_of(with_gaps, times, [])
    part = LAYOUT.features["x"]
    assert isinstance(part, NumericLayout)
    feature = part.feature
    means = ((values - feature.mean) / feature.sd).reshape(4, 16).mean(1)
    expected = np.clip((means - feature.block_mean) / feature.block_sd, -4, 4)
    assert np.array(found) / SCALE == pytest.approx(expected, abs=0.01)


def test_only_numeric_features_that_vary_have_blocks() -> None:
    blocks = BlockMeans(LAYOUT)
    columns = {"x": numbers([1.0]), "still": numbers([1.0]), "city": labels(["a"])}
    assert blocks.add(columns, np.zeros(1, np.int64)) == {}
    assert list(blocks.snapshot()) == ["x"]
    assert "constant" in BASELINE.features["still"].block_off


def test_float32_rows_make_the_same_blocks() -> None:
    narrow = RNG.standard_normal(200).astype(np.float32)
    times = np.arange(200)
    wide = BlockMeans(LAYOUT).add({"x": Column(narrow.astype(np.float64))}, times)["x"]
    assert BlockMeans(LAYOUT).add({"x": Column(narrow)}, times)["x"][1].tolist() == wide[1].tolist()


def test_a_snapshot_of_another_baseline_is_refused() -> None:
    with pytest.raises(IncompatibleState, match="other"):
        BlockMeans(LAYOUT).restore({"other": (1, 1, 1)})
    with pytest.raises(IncompatibleState, match="damaged"):
        BlockMeans(LAYOUT).restore({"x": (1, 99, 1)})


def ar(rho: float, n: int) -> Any:
    values = np.zeros(n)
    for i, noise in enumerate(np.random.default_rng(2).standard_normal(n)):
        values[i] = rho * values[i - 1] + noise
    return values / values.std() * STEP


def test_blocks_grow_with_dependence() -> None:
    independent, dependent = choose_blocks(ar(0.0, 20_000)), choose_blocks(ar(0.95, 20_000))
    assert independent.rows == 16
    assert dependent.rows > 16
    assert independent.off == dependent.off == ""


def test_a_season_turns_the_detector_off_and_says_why() -> None:
    wave = np.sin(np.arange(20_000) / 20_000 * 12 * np.pi) * 2 + np.random.default_rng(1).standard_normal(20_000)
    assert "season" in choose_blocks(wave * STEP).off
