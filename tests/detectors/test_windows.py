"""Windows in event time: alignment, time zones, scales, and the choice of a size."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.errors import UnknownTimezone
from detectors.windows import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SIZES_MS,
    WEEK_MS,
    choose_window,
    choose_window_from_minutes,
    scale_windows,
    window_end,
    window_index,
    window_start,
    window_starts,
)

ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo"]
TIMES = st.integers(-WEEK_MS, 2_000_000_000_000)


def at(text: str, zone: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@given(TIMES, st.sampled_from(list(SIZES_MS.values())), st.sampled_from(ZONES))
@settings(max_examples=300, deadline=None)
def test_every_time_lies_in_exactly_one_window(time: int, size: int, zone: str) -> None:
    start = window_start(time, size, zone)
    end = window_end(start, size, zone)
    assert start <= time < end
    assert window_start(start, size, zone) == start
    assert window_start(end, size, zone) == end
    assert window_start(end - 1, size, zone) == start
    assert window_index(end, size, zone) == window_index(start, size, zone) + 1


@given(st.lists(TIMES, min_size=1, max_size=20), st.sampled_from(list(SIZES_MS.values())), st.sampled_from(ZONES))
@settings(max_examples=200, deadline=None)
def test_many_starts_equal_single_starts(times: list[int], size: int, zone: str) -> None:
    expected = [window_start(time, size, zone) for time in times]
    assert window_starts(np.array(times, np.int64), size, zone).tolist() == expected


def test_window_end_is_exclusive() -> None:
    assert window_start(HOUR_MS - 1, HOUR_MS) == 0
    assert window_start(HOUR_MS, HOUR_MS) == HOUR_MS


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_days_have_the_hours_they_have_in_the_time_zone(day: str, hours: int) -> None:
    start = at(f"{day}T00:00", "Europe/Paris")
    assert window_start(at(f"{day}T12:00", "Europe/Paris"), DAY_MS, "Europe/Paris") == start
    assert window_end(start, DAY_MS, "Europe/Paris") - start == hours * HOUR_MS


def test_weeks_start_on_monday() -> None:
    assert window_start(at("2026-03-01T12:00"), WEEK_MS) == at("2026-02-23T00:00")
    assert window_start(at("2026-03-02T00:00"), WEEK_MS) == at("2026-03-02T00:00")


@pytest.mark.parametrize("scale", [1, 3, 5, 25])
@pytest.mark.parametrize(("size", "zone"), [(HOUR_MS, "UTC"), (DAY_MS, "Europe/Paris"), (WEEK_MS, "Asia/Kolkata")])
def test_merged_windows_end_every_fifth_of_their_length(scale: int, size: int, zone: str) -> None:
    start = window_start(at("2026-03-20T00:00"), size, zone)
    ends = []
    for _ in range(50):
        span = scale_windows(start, size, scale, zone)
        if span:
            assert span[1] == window_end(start, size, zone)
            assert window_index(span[1], size, zone) - window_index(span[0], size, zone) == scale
            ends.append(window_index(span[1], size, zone))
        start = window_end(start, size, zone)
    assert set(np.diff(ends).tolist()) == {max(1, scale // 5)}
    assert all(end % max(1, scale // 5) == 0 for end in ends)


def test_an_unknown_time_zone_is_named() -> None:
    with pytest.raises(UnknownTimezone, match="Mars/Olympus"):
        window_start(0, DAY_MS, "Mars/Olympus")


@pytest.mark.parametrize(
    ("rows_per_minute", "expected"), [(600, "1m"), (150, "5m"), (40, "15m"), (10, "1h"), (2, "6h"), (0.4, "1d")]
)
def test_the_smallest_window_with_500_rows_is_chosen(rows_per_minute: float, expected: str) -> None:
    times = (np.arange(20_000) * (MINUTE_MS / rows_per_minute)).astype(np.int64)
    size, reason = choose_window(times)
    assert size == SIZES_MS[expected]
    assert reason.startswith(expected)


def test_empty_windows_count_for_the_median() -> None:
    burst = np.arange(1000, dtype=np.int64)
    times = np.concatenate([burst + hour * HOUR_MS for hour in range(48)])
    assert choose_window(times)[0] == HOUR_MS


def test_sparse_models_get_weeks_and_are_told_why() -> None:
    size, reason = choose_window(np.arange(100, dtype=np.int64) * DAY_MS)
    assert size == WEEK_MS
    assert "only" in reason


@given(st.lists(st.integers(0, 40 * DAY_MS), min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_minutes_lead_to_the_same_choice_as_rows(times: list[int]) -> None:
    rows = np.repeat(np.array(times, np.int64), 20)
    halves = [np.unique(part // MINUTE_MS * MINUTE_MS, return_counts=True) for part in np.array_split(rows, 2)]
    starts, counts = (np.concatenate(part) for part in zip(*halves, strict=True))
    assert choose_window_from_minutes(starts, counts) == choose_window(rows)
