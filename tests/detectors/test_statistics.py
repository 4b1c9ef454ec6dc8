"""Every registered statistic goes through the same checks."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.statistics import STATISTICS

pytestmark = pytest.mark.parametrize("name", STATISTICS)
SAME = np.array([0, 10, 5, 20, 5, 10, 0])
OTHER = np.array([1, 30, 5, 10, 0, 3, 1])


def test_equal_shares_are_no_distance(name: str) -> None:
    assert float(STATISTICS[name](SAME * 100, SAME * 100)) == 0
    assert float(STATISTICS[name](SAME * 10_000, SAME * 20_000)) == pytest.approx(0, abs=1e-6)


def test_it_is_never_negative_and_grows_with_the_change(name: str) -> None:
    mixed = [float(STATISTICS[name](SAME * 100, SAME * (100 - w) + OTHER * w)) for w in (0, 25, 50, 100)]
    assert mixed == sorted(mixed)
    assert mixed[0] >= 0 < mixed[1]


def test_many_features_at_once_equal_single_ones(name: str) -> None:
    together = STATISTICS[name](np.stack([SAME, OTHER, SAME]), np.stack([OTHER, SAME, SAME]))
    single = [float(STATISTICS[name](a, b)) for a, b in ((SAME, OTHER), (OTHER, SAME), (SAME, SAME))]
    assert together.tolist() == single


def test_the_inputs_stay_as_they_are(name: str) -> None:
    reference, current = SAME.copy(), OTHER.copy()
    first, second = (float(STATISTICS[name](reference, current)) for _ in range(2))
    assert first == second
    assert (reference.tolist(), current.tolist()) == (SAME.tolist(), OTHER.tolist())
