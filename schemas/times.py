"""Event times as other people's messages write them, to epoch milliseconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from schemas.arrays import epoch_ms
from schemas.events import MAX_TIME_MS, MIN_TIME_MS
from schemas.sources import TimeFormat

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_PER_MS = {"s": Decimal("0.001"), "ms": Decimal(1), "us": Decimal(1_000), "auto": Decimal(1)}
_LOCAL = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?")
_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?")


def times_ms(values: Sequence[Any], form: TimeFormat) -> list[int | None]:
    """Return each value as epoch milliseconds; None where it is not of the form, or not of 1973 to 2200.

    >>> times_ms([1772366400, "1772366400.25", "yesterday"], "s")
    [1772366400000, 1772366400250, None]
    >>> times_ms(["2026-03-01T12:00:00Z", 1772366400000, "2026-03-01T12:00:00"], "auto")
    [1772366400000, 1772366400000, None]
    """
    kinds = set(map(type, values))
    if kinds == {int} and form in ("auto", "ms"):
        found: list[int | None] = list(values)
    elif kinds == {int} and form == "s":
        found = [value * 1_000 for value in values]
    elif kinds == {int} and form == "us":
        found = [value // 1_000 for value in values]
    elif kinds == {str} and form in ("auto", "rfc3339"):
        found = _moments(values)
    else:
        found = [_time_ms(value, form) for value in values]
    return [time if time is not None and MIN_TIME_MS <= time <= MAX_TIME_MS else None for time in found]


def _moments(values: Sequence[str]) -> list[int | None]:
    try:
        return [int(time) for time in epoch_ms(msgspec.convert(values, list[_Moment]))]
    except msgspec.ValidationError:
        return [_time_ms(value, "rfc3339") for value in values]


def _time_ms(value: Any, form: str) -> int | None:
    if type(value) is str and form in ("auto", "rfc3339", "utc"):
        if form == "utc" and _LOCAL.fullmatch(value):
            value = value.replace(" ", "T") + (":00Z" if len(value) == 16 else "Z")
        try:
            moment = msgspec.convert(value, _Moment)
        except msgspec.ValidationError:
            return None
        return int(epoch_ms([moment.astimezone(UTC)])[0])
    if form not in _PER_MS or type(value) not in (int, float, str):
        return None
    text = value if type(value) is str else repr(value)
    if form == "auto" and type(value) is str:
        return None
    if not _NUMBER.fullmatch(text):
        return None
    return int(Decimal(text) / _PER_MS[form])
