"""The query strings the panel understands, each bounded; anything else is refused with the parameter's name."""

from __future__ import annotations

from datetime import UTC, datetime

from multidict import MultiMapping

from streams.panel.history import LIVE
from streams.panel.readings import MAX_WINDOWS, Range

DEFAULT_WINDOWS = 200
MAX_NAME = 500
MAX_SCALE = 1000
MAX_TIME_MS = 253_402_300_799_000  # the end of the year 9999


class BadQuery(ValueError):
    """A query parameter that cannot be used; the message names it and says what is allowed."""


def whole_number(query: MultiMapping[str], name: str, default: int, low: int, high: int) -> int:
    """Return an integer parameter.

    Raises
    ------
    BadQuery
        If it is not an integer in `[low, high]`.
    """
    text = query.get(name, "")
    if text == "":
        return default
    if len(text) <= 16 and text.isascii() and text.lstrip("-").isdecimal() and low <= int(text) <= high:
        return int(text)
    raise BadQuery(f"{name} must be a whole number from {low} to {high}")


def time_ms(query: MultiMapping[str], name: str) -> int | None:
    """Return a time parameter, RFC 3339 or epoch milliseconds, as epoch milliseconds; None if it is not given.

    Raises
    ------
    BadQuery
        If it is neither.
    """
    text = query.get(name, "")[:64]
    if text == "":
        return None
    if text.isascii() and text.isdecimal() and len(text) <= 15:
        value = int(text)
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            raise BadQuery(f"{name} must be a time such as 2026-03-01T12:00:00Z, or epoch milliseconds") from error
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        value = round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    if not 0 <= value <= MAX_TIME_MS:
        raise BadQuery(f"{name} must lie between 1970 and 9999")
    return value


def name_of(query: MultiMapping[str], name: str, default: str) -> str:
    """Return a name given as a parameter.

    Raises
    ------
    BadQuery
        If it is absurdly long.
    """
    text = query.get(name, default)
    if len(text) > MAX_NAME:
        raise BadQuery(f"{name} must have at most {MAX_NAME} characters")
    return text


def read_range(query: MultiMapping[str]) -> Range:
    """Return which windows are asked for: ``slice``, ``scale``, ``from``, ``to``, ``n`` and ``run``.

    Raises
    ------
    BadQuery
        If one of them cannot be used.
    """
    start_ms, end_ms = time_ms(query, "from"), time_ms(query, "to")
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise BadQuery("from must be before to")
    return Range(
        slice=name_of(query, "slice", ""),
        scale=whole_number(query, "scale", 1, 1, MAX_SCALE),
        start_ms=start_ms,
        end_ms=end_ms,
        n_windows=whole_number(query, "n", DEFAULT_WINDOWS, 1, MAX_WINDOWS),
        run_id=name_of(query, "run", LIVE),
    )
