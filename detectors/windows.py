"""Windows are arithmetic: half-open ``[start, end)`` in event time, epoch milliseconds.

Below one day windows are aligned in UTC, from one day up in the monitor's time zone (so a day may
have 23 or 25 hours); weeks start on Monday.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from detectors.errors import UnknownTimezone

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
SIZES_MS = {
    "1m": MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "1h": HOUR_MS,
    "6h": 6 * HOUR_MS,
    "1d": DAY_MS,
    "7d": WEEK_MS,
}
MIN_MEDIAN_ROWS = 500
_EPOCH = date(1970, 1, 1).toordinal()
_MONDAY = date(1970, 1, 5).toordinal()

Times = NDArray[np.int64]


def future_guard_ms(size_ms: int = HOUR_MS) -> int:
    """Return how far an event may lie in the future: one base window, at most an hour.

    >>> future_guard_ms(MINUTE_MS), future_guard_ms(DAY_MS)
    (60000, 3600000)
    """
    return min(HOUR_MS, size_ms)


def size_name(size_ms: int) -> str:
    """Return the short name of a window size.

    >>> size_name(3_600_000)
    '1h'
    """
    return next((name for name, ms in SIZES_MS.items() if ms == size_ms), f"{size_ms}ms")


def _zone(timezone: str) -> ZoneInfo:
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownTimezone(f"timezone {timezone!r} is not known; use a name such as Europe/Paris") from error


def _local_ordinal(time_ms: int, zone: ZoneInfo) -> int:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(time_ms))
    return moment.astimezone(zone).toordinal()


def _midnight_ms(ordinal: int, zone: ZoneInfo) -> int:
    day = date.fromordinal(ordinal)
    offset = datetime(day.year, day.month, day.day, tzinfo=zone).utcoffset() or timedelta()
    return (ordinal - _EPOCH) * DAY_MS - round(offset.total_seconds() * 1000)


def _first_day(ordinal: int, size_ms: int) -> int:
    days = size_ms // DAY_MS
    origin = _MONDAY if days == 7 else _EPOCH
    return origin + (ordinal - origin) // days * days


def window_index(start_ms: int, size_ms: int, timezone: str = "UTC") -> int:
    """Return the running number of the window that starts at `start_ms`; neighbours differ by one."""
    if size_ms < DAY_MS:
        return start_ms // size_ms
    days = size_ms // DAY_MS
    return (_local_ordinal(start_ms, _zone(timezone)) - (_MONDAY if days == 7 else _EPOCH)) // days


def _start_of(index: int, size_ms: int, timezone: str) -> int:
    if size_ms < DAY_MS:
        return index * size_ms
    days = size_ms // DAY_MS
    return _midnight_ms((_MONDAY if days == 7 else _EPOCH) + index * days, _zone(timezone))


def window_start(time_ms: int, size_ms: int, timezone: str = "UTC") -> int:
    """Return the start of the window that holds `time_ms`.

    >>> window_start(3_599_999, SIZES_MS["1h"])
    0
    >>> window_start(1_774_738_800_000, SIZES_MS["1d"], "Europe/Paris")
    1774738800000
    """
    if size_ms < DAY_MS:
        return time_ms // size_ms * size_ms
    zone = _zone(timezone)
    return _midnight_ms(_first_day(_local_ordinal(time_ms, zone), size_ms), zone)


def window_end(start_ms: int, size_ms: int, timezone: str = "UTC") -> int:
    """Return the end of the window that starts at `start_ms`; the end itself is outside the window.

    >>> (window_end(1_774_738_800_000, SIZES_MS["1d"], "Europe/Paris") - 1_774_738_800_000) // HOUR_MS
    23
    """
    if size_ms < DAY_MS:
        return start_ms + size_ms
    zone = _zone(timezone)
    return _midnight_ms(_local_ordinal(start_ms, zone) + size_ms // DAY_MS, zone)


def window_starts(times: Times, size_ms: int, timezone: str = "UTC") -> Times:
    """Return `window_start` of every element of `times`, shape (rows,)."""
    if size_ms < DAY_MS:
        return times // size_ms * size_ms
    zone = _zone(timezone)
    days: list[int] = np.unique(times // DAY_MS).tolist()
    ordinals = {_first_day(_EPOCH + day + near, size_ms) for day in days for near in (-1, 0, 1)}
    starts = np.array(sorted(_midnight_ms(ordinal, zone) for ordinal in ordinals), np.int64)
    result: Times = starts[starts.searchsorted(times, "right") - 1]
    return result


def scale_windows(start_ms: int, size_ms: int, scale: int, timezone: str = "UTC") -> tuple[int, int] | None:
    """Return ``(start, end)`` of the `scale`-times window that ends with the base window at `start_ms`.

    Such a window ends every ``max(1, scale // 5)`` base windows, counted from the origin. None when
    none ends here.

    >>> scale_windows(4 * MINUTE_MS, MINUTE_MS, 25), scale_windows(0, MINUTE_MS, 25)
    ((-1200000, 300000), None)
    """
    index = window_index(start_ms, size_ms, timezone)
    if (index + 1) % max(1, scale // 5):
        return None
    return _start_of(index - scale + 1, size_ms, timezone), _start_of(index + 1, size_ms, timezone)


def windows_per_week(size_ms: int, scale: int) -> float:
    """Return how many windows of this scale end in a week.

    >>> windows_per_week(HOUR_MS, 1), windows_per_week(HOUR_MS, 25)
    (168.0, 33.6)
    """
    return WEEK_MS / (size_ms * max(1, scale // 5))


def choose_window_from_minutes(minute_starts: Any, counts: Any, timezone: str = "UTC") -> tuple[int, str]:
    """Choose the base window from a histogram of rows per minute.

    The smallest size whose median window held at least 500 rows. The median is over every window
    between the first and the last row, empty ones included; the first and the last, which the
    reference may cover in part, are left out where at least three others remain.

    Parameters
    ----------
    minute_starts, counts
        Shape (minutes,): starts of minutes that hold rows (any order, repeats allowed), and rows.

    Returns
    -------
    size_ms, reason
        The size, and one sentence for people.
    """
    starts = np.asarray(minute_starts, np.int64)
    weights = np.asarray(counts, np.int64)
    if starts.size == 0 or int(weights.sum()) == 0:
        return WEEK_MS, "no rows to choose a window from"
    median = 0.0
    for name, size_ms in SIZES_MS.items():
        windows, inverse = np.unique(window_starts(starts, size_ms, timezone), return_inverse=True)
        rows = np.bincount(inverse, weights).astype(np.int64)
        first, last = (window_index(int(w), size_ms, timezone) for w in (windows[0], windows[-1]))
        n_windows = last - first + 1
        if n_windows >= 5:
            rows, n_windows = rows[1:-1], n_windows - 2
        median = _median_with_zeros(np.sort(rows), n_windows)
        if median >= MIN_MEDIAN_ROWS:
            return size_ms, f"{name}: the smallest window whose median held at least 500 rows (it held {median:,.0f})"
    return WEEK_MS, f"7d: even weeks hold a median of only {median:,.0f} rows"


def _median_with_zeros(rows: Times, n_windows: int) -> float:
    zeros = n_windows - rows.size
    middle = [(n_windows - 1) // 2 - zeros, n_windows // 2 - zeros]
    return sum(float(rows[i]) if i >= 0 else 0.0 for i in middle) / 2


def choose_window(times: Times, timezone: str = "UTC") -> tuple[int, str]:
    """Choose the base window from event times, shape (rows,); see `choose_window_from_minutes`."""
    minutes, counts = np.unique(np.asarray(times, np.int64) // MINUTE_MS * MINUTE_MS, return_counts=True)
    return choose_window_from_minutes(minutes, counts, timezone)


def spanned_ms(first_ms: int, last_ms: int, n_rows: int) -> float:
    """Return the time that `n_rows` rows cover, the gap after the last row included.

    >>> spanned_ms(0, 9_000, 10)
    10000.0
    """
    return (last_ms - first_ms) * n_rows / max(n_rows - 1, 1)
