"""Sequential detectors: River's own alarms, exact snapshots, silence on constants."""

from __future__ import annotations

import numpy as np
import pytest
from river.drift import ADWIN

from detectors.blocks import SCALE
from detectors.errors import IncompatibleState
from detectors.online import CLOCK, DELTA, ChangeDetector
from schemas.baselines import FeatureBaseline
from tests.detectors.rows import baseline, numbers

FEATURE: FeatureBaseline = baseline({"x": numbers(np.random.default_rng(1).standard_normal(4000) * 5 + 100)}).features[
    "x"
]


def stream(seed: int, n: int = 3000) -> list[int]:
    """Block means with changes of the mean of 0, 1, 2 and 4 sd."""
    rng = np.random.default_rng(seed)
    means = np.repeat([0.0, 1.0, 0.0, 2.0, -2.0], n // 5)
    values: list[int] = np.rint(np.clip(rng.standard_normal(n) + means, -4, 4) * SCALE).astype(int).tolist()
    return values


@pytest.mark.parametrize("seed", range(4))
def test_alarms_are_rivers_own(seed: int) -> None:
    river = ADWIN(delta=DELTA, clock=CLOCK)  # type: ignore[no-untyped-call]  # River has no types here
    detector = ChangeDetector(FEATURE)
    expected, found = [], []
    for i, value in enumerate(stream(seed)):
        river.update(value / SCALE)  # type: ignore[no-untyped-call]  # River has no types here
        detector.update(i, value)
        if river.drift_detected:
            expected.append(i)
        if detector.drift_detected:
            found.append(i)
    assert len(expected) >= 4
    assert found == expected


@pytest.mark.parametrize("seed", range(4))
def test_many_at_once_are_the_same_as_one_by_one(seed: int) -> None:
    values, rng = stream(seed), np.random.default_rng(seed)
    single, many = ChangeDetector(FEATURE), ChangeDetector(FEATURE)
    expected, found, start = [], [], 0
    while start < len(values):
        end = min(len(values), start + int(rng.choice([0, 1, 2, 100, 127, 128, 129, 700])))
        for time in range(start, end):
            single.update(time, values[time])
            if single.change is not None:
                expected.append(single.change)
        found += many.add(np.arange(start, end), np.array(values[start:end], np.int16))
        if end > start:
            assert (many.drift_detected, many.change) == (single.drift_detected, single.change)
        assert many.snapshot() == single.snapshot()
        start = end
    assert len(expected) >= 4
    assert found == expected


@pytest.mark.parametrize("seed", range(3))
def test_restoring_anywhere_changes_nothing(seed: int) -> None:
    values = stream(seed)
    points = set(np.random.default_rng(seed).integers(0, len(values), 40).tolist())
    straight, broken = ChangeDetector(FEATURE), ChangeDetector(FEATURE)
    for i, value in enumerate(values):
        if i in points or straight.drift_detected:
            state = broken.snapshot()
            broken = ChangeDetector(FEATURE)
            broken.restore(state)
            assert broken.snapshot() == state
        straight.update(i, value)
        broken.update(i, value)
        assert (straight.drift_detected, straight.change) == (broken.drift_detected, broken.change)
    assert straight.snapshot() == broken.snapshot()


def test_a_warning_tells_both_means_in_the_features_units() -> None:
    detector = ChangeDetector(FEATURE)
    changes = []
    rng = np.random.default_rng(3)
    for i, level in enumerate([0.0] * 300 + [3.0] * 300):
        detector.update(i * 1000, round(float(np.clip(level + rng.standard_normal(), -4, 4)) * SCALE))
        if detector.change:
            changes.append(detector.change)
    first = changes[0]
    assert 300_000 <= first.time <= 330_000
    assert first.before == pytest.approx(100, abs=1)
    assert first.after == pytest.approx(100 + 3 * 5 / 4, abs=1)


def test_small_changes_are_detected_but_not_worth_a_warning() -> None:
    detector = ChangeDetector(FEATURE, min_change_sd=2.0)
    seen = []
    for i, value in enumerate(stream(0)):
        detector.update(i, value)
        if detector.drift_detected:
            seen.append(detector.change)
    assert seen
    assert set(seen) == {None}


@pytest.mark.parametrize("value", [0, 4 * SCALE, -4 * SCALE])
def test_constant_input_never_alarms(value: int) -> None:
    detector = ChangeDetector(FEATURE)
    for i in range(5000):
        detector.update(i, value)
        assert not detector.drift_detected


def test_memory_is_constant_in_values() -> None:
    detector = ChangeDetector(FEATURE)
    rng = np.random.default_rng(5)
    sizes = []
    for i in range(20_000):
        detector.update(i, round(float(rng.standard_normal()) * 1000))
        if i in (5_000, 19_999):
            sizes.append(len(detector.snapshot()))
    assert sizes[1] < 2 * sizes[0] < 8_000


def test_damaged_snapshots_are_refused_and_leave_the_state_alone() -> None:
    detector = ChangeDetector(FEATURE)
    for i, value in enumerate(stream(0)[:500]):
        detector.update(i, value)
    good = detector.snapshot()
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(good)
        damaged[int(rng.integers(len(good) // 4, len(good)))] ^= 1 << int(rng.integers(8))
        if bytes(damaged) == good:
            continue
        with pytest.raises(IncompatibleState):
            detector.restore(bytes(damaged))
    for length in (0, 1, 10, len(good) - 1):
        with pytest.raises(IncompatibleState):
            detector.restore(good[:length])
    assert detector.snapshot() == good


def test_a_snapshot_of_another_configuration_is_refused() -> None:
    state = ChangeDetector(FEATURE).snapshot()
    with pytest.raises(IncompatibleState, match="configuration"):
        ChangeDetector(FEATURE, min_change_sd=1.0).restore(state)
