"""Days and weeks of a zone where clocks change; six hours know nothing of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.timelines.drawing import HOUR_MS, Drawn, monitor
from tests.timelines.line import comparable, replayed


def at(*moment: int) -> int:
    """Return epoch milliseconds of a moment in UTC."""
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc, arg-type]  # no zone among them


SPRING = """
    p0:      rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr
    windows: |.......................|......................|.......................|
    judged:  ........................0......................o.......................b
"""
AUTUMN = """
    p0:      rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr
    windows: |.......................|........................|.......................|
    judged:  ........................0........................o.......................d
"""
SIX_HOURS = """
    p0:      rrrrrrrrrrrrrrrrrrrrrrrrrrrrr
    windows: |.....|.....|.....|.....|....
    judged:  ......0.....6.....c.....i....
"""


def _check(drawing: str, window: str, start_ms: int) -> Drawn:
    drawn = Drawn(drawing, monitor(window, "Europe/Paris", idle_s=7_200.0), step_ms=HOUR_MS, start_ms=start_ms)
    drawn.check()
    for result in drawn.results()[:-1]:
        assert result.rows * HOUR_MS == 10 * (result.window_end - result.window_start)
    assert comparable(drawn.line.made) == replayed(drawn.line.catalogue, drawn.line.events)
    return drawn


@pytest.mark.parametrize(
    ("drawing", "start_ms"), [(SPRING, at(2026, 3, 27, 23)), (AUTUMN, at(2026, 10, 23, 22))], ids=["spring", "autumn"]
)
def test_a_day_has_as_many_hours_as_its_zone_says(drawing: str, start_ms: int) -> None:
    _check(drawing, "1d", start_ms)


@pytest.mark.parametrize(
    ("hours", "start_ms"), [(167, at(2026, 3, 22, 23)), (169, at(2026, 10, 18, 22))], ids=["spring", "autumn"]
)
def test_a_week_begins_on_monday_in_its_zone(hours: int, start_ms: int) -> None:
    bars = "|" + "." * (hours - 1) + "|" + "." * 167 + "|"
    drawn = _check("p0: " + "r" * (len(bars) + 3) + "\nwindows: " + bars, "7d", start_ms)
    assert [result.rows for result in drawn.results()][:2] == [10 * hours, 1680]


@pytest.mark.parametrize("start_ms", [at(2026, 3, 28, 18), at(2026, 10, 24, 18)], ids=["spring", "autumn"])
def test_six_hours_are_six_hours(start_ms: int) -> None:
    _check(SIX_HOURS, "6h", start_ms)
