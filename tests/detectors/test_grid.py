"""Counting by the grid and counting by sorting are one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.grid import MAX_ROUNDS, MIN_VALUES, N_BUCKETS, Grid, grid_of
from detectors.layout import Layout, thresholds
from tests.detectors.rows import baseline, count, numbers

RNG = np.random.default_rng(11)
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-2, 2, width=32),
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 0.1, 5e-324, -1e308, 1.7e308, 3.5e38, 1e-45]),
)
KNOTS = st.one_of(
    st.lists(FLOATS, max_size=40), st.lists(st.one_of(FLOATS, st.just(float("inf")), st.just(-float("inf"))))
)


def by_sorting(limits: Any, values: Any) -> list[int]:
    counts: list[int] = np.diff(np.sort(values).searchsorted(limits), prepend=0).tolist()
    return counts


@settings(deadline=None, max_examples=300)
@given(KNOTS, st.lists(FLOATS, max_size=40))
def test_a_grid_counts_what_sorting_counts(given_knots: list[float], given_values: list[float]) -> None:
    knots = np.unique(np.array(given_knots, np.float64))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        near = [np.nextafter(knots, np.inf), np.nextafter(knots, -np.inf)]
        wide = np.concatenate([knots, *near, given_values])
        both: list[tuple[Any, Any]] = list(zip(thresholds(knots), (wide, wide.astype(np.float32)), strict=True))
        for limits, values in both:
            usual = values[np.isfinite(values)]
            if (grid := grid_of(limits)) is not None:
                assert grid.count(usual).tolist() == by_sorting(limits, usual)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_features_look_like_has_a_grid(kind: Any) -> None:
    for reference in (RNG.normal(size=20_000), RNG.lognormal(size=20_000), RNG.poisson(3, 20_000)):
        knots = np.unique(np.quantile(reference, np.linspace(0, 1, 200), method="nearest"))
        limits = thresholds(knots)[0 if kind is np.float64 else 1]
        grid = grid_of(limits)
        assert grid is not None
        assert grid.count(reference.astype(kind)).tolist() == by_sorting(limits, reference.astype(kind))


def test_thresholds_that_crowd_in_a_corner_have_none() -> None:
    crowded = np.array([*np.arange(MAX_ROUNDS + 1), 1e6 * N_BUCKETS, np.nan])
    assert Grid(crowded).n_rounds > MAX_ROUNDS
    assert grid_of(crowded) is None
    assert grid_of(np.array([np.nan])) is None


def test_missing_and_infinite_values_of_a_large_block_count_like_those_of_small_ones() -> None:
    layout = Layout(baseline({"x": numbers(RNG.normal(size=2_000))}))
    current = RNG.normal(size=4 * MIN_VALUES)
    current[::7], current[::11], current[::13] = np.nan, np.inf, -np.inf
    for kind in (np.float64, np.float32):
        whole = {"x": numbers(current, kind)}
        pieces = count(layout, whole, current.size, range(0, current.size, MIN_VALUES - 1))
        assert np.array_equal(count(layout, whole, current.size), pieces)
