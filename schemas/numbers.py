"""JSON lists of numbers become arrays without a Python object for each number."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import simdjson
from numpy.typing import NDArray

_decode_list = msgspec.json.Decoder(list[Any]).decode
_parser = simdjson.Parser()
_STAND_IN = -1.2345678901234567e307
_STAND_IN_TEXT = repr(_STAND_IN).encode()


def list_of(text: bytes) -> NDArray[np.float64] | list[Any]:
    """Return a JSON list as an array, null as NaN, where all else in it is numbers, else as a list.

    Raises
    ------
    msgspec.DecodeError
        When it is no list, or a number no float64 holds is in it.

    Examples
    --------
    >>> list_of(b"[1, null, 2.5]"), list_of(b'["a", 1]')
    (array([1. , nan, 2.5]), ['a', 1])
    """
    if b'"' not in text and text.find(b"[", 1) < 0 and b"{" not in text:
        try:
            return _numbers(text)
        except (ValueError, TypeError, RuntimeError):
            pass  # a boolean, a number too large, no list, no values, or another thread is parsing
    return _decode_list(text)


def _numbers(text: bytes) -> NDArray[np.float64]:
    try:
        return _parsed(text)
    except TypeError:
        n_missing = text.count(b"null")
        if not n_missing:
            raise
    numbers = _parsed(text.replace(b"null", _STAND_IN_TEXT))
    missing = numbers == _STAND_IN
    if np.count_nonzero(missing) != n_missing:
        raise ValueError("the stand-in for null is one of the numbers")
    numbers[missing] = np.nan
    return numbers


def _parsed(text: bytes) -> NDArray[np.float64]:
    numbers: Any = _parser.parse(text)
    if not isinstance(numbers, simdjson.Array):
        raise TypeError("no list")
    return np.frombuffer(numbers.as_buffer(of_type="d"))
