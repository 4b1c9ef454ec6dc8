"""Values as they come from services, to values JSON can carry.

Numpy and pandas objects are recognised by what they have (`dtype`, `item`, `tolist`), so neither
is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

SIMPLE = frozenset({float, int, str, bool, type(None)})
MIN_TIME_MS = 100_000_000_000
MAX_TIME_MS = 7_258_118_400_000
MAX_ERROR_CHARS = 500

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_INT_64 = 1 << 63


def dumps(value: object) -> bytes:
    """Encode plain values; NaN and infinities become null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=_array_list)


def _array_list(value: Any) -> Any:
    """Lists for the arrays orjson leaves out: not contiguous, or of a foreign byte order."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def plain(value: Any) -> Any:
    """Return the value JSON can carry; dates and times become epoch milliseconds.

    Raises
    ------
    TypeError
        When there is none.
    """
    kind = type(value)
    if kind is int:
        return value if -_INT_64 <= value < _INT_64 else float(value)
    if kind is str:
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if kind in SIMPLE:
        return value
    if kind.__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, Enum):
        return plain(value.value)
    for base, convert in _CONVERT:
        if isinstance(value, base):
            return convert(value)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return _of_numpy(value)
    raise TypeError(f"{kind.__name__} is no JSON value")


def _of_numpy(value: Any) -> Any:
    letter = getattr(value.dtype, "kind", "")
    if letter in ("M", "m"):
        whole = value.astype(f"{letter}8[ms]").astype("int64").tolist()
        return _without_nat(whole)
    if letter in ("f", "i", "u", "b") and value.dtype.itemsize <= 8 and getattr(value, "ndim", 0):
        return value
    items = value.tolist()
    if hasattr(items, "dtype"):
        return float(items)
    return plain(items)


def _without_nat(whole: Any) -> Any:
    if isinstance(whole, list):
        return [_without_nat(one) for one in whole]
    return None if whole == -_INT_64 else whole


def _ms(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MILLISECOND


_CONVERT: tuple[tuple[Any, Any], ...] = (
    (datetime, _ms),
    (date, lambda value: _ms(datetime(value.year, value.month, value.day, tzinfo=UTC))),
    (timedelta, lambda value: value // _MILLISECOND),
    (str, lambda value: plain(str.__str__(value))),
    (int, lambda value: plain(int(value))),
    (float, float),
    (Decimal, float),
    (UUID, str),
    (Mapping, lambda value: {str(key): plain(one) for key, one in value.items()}),
    ((list, tuple), lambda value: [plain(one) for one in value]),
)


def time_ms(value: Any) -> int:
    """Return epoch milliseconds of a number of them, RFC 3339 text or a datetime (without a zone: UTC).

    Raises
    ------
    ValueError, TypeError
        When it is no time between 1973 and 2200.
    """
    moment = value
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
    moment = plain(moment)
    if isinstance(moment, bool) or not isinstance(moment, (int, float)):
        raise TypeError(f"time: expected epoch milliseconds, RFC 3339 or a datetime, got {type(value).__name__}")
    if not MIN_TIME_MS <= moment < MAX_TIME_MS:
        raise ValueError("time: outside 1973 to 2200; epoch milliseconds are expected, not seconds")
    return int(moment)


def identity(value: Any) -> str | None:
    """Return an id as text, so that events and feedback meet."""
    if value is None or type(value) is str:
        return value
    text = plain(value)
    return None if text is None else str(text)


def prediction(value: Any) -> Any:
    """Return a number, a label, or an object of class probabilities (a sequence gets the classes 0, 1, …)."""
    if type(value) in SIMPLE:
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    return plain(value)


def error_text(value: Any) -> str | bool | None:
    """Return what stands in `error`: an exception becomes its type and text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, BaseException):
        value = f"{type(value).__name__}: {value}"
    return str(value)[:MAX_ERROR_CHARS]
