"""Tails of the beta-binomial distribution, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from detectors.betabinomial import upper_tails


@given(st.integers(1, 400), st.data(), st.floats(1, 500), st.floats(1, 5000))
@settings(max_examples=150, deadline=None)
def test_tails_equal_scipys(n: int, data: st.DataObject, alpha: float, beta: float) -> None:
    k = data.draw(st.integers(0, n))
    expected = float(stats.betabinom.pmf(np.arange(k, n + 1), n, alpha, beta).sum())  # sf() is 1 - cdf and less exact
    assert upper_tails([k], [n], [alpha], [beta])[0] == pytest.approx(expected, rel=1e-6, abs=1e-30)


def test_many_tails_at_once_equal_single_ones() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(100, 100_000, 50)
    alpha, beta = rng.uniform(1, 100, 50), rng.uniform(1000, 20_000, 50)
    k = np.minimum(n, (n * alpha / (alpha + beta) * rng.uniform(1, 3, 50)).astype(int))
    together = upper_tails(k, n, alpha, beta)
    single = [upper_tails([a], [b], [c], [d])[0] for a, b, c, d in zip(k, n, alpha, beta, strict=True)]
    assert together == pytest.approx(single, rel=1e-9)


def test_impossible_counts_have_no_tail() -> None:
    assert upper_tails([11, 0], [10, 10], [1.0, 1.0], [1.0, 1.0]).tolist() == [0.0, 1.0]
