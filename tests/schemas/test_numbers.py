"""Lists of numbers are read without Python objects, to the same columns as value by value."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas import numbers
from schemas.arrays import column_of
from schemas.numbers import list_of

NUMBERS = st.one_of(st.none(), st.integers(-(2**80), 2**80), st.floats(allow_nan=False, allow_infinity=False))
ANY = st.one_of(NUMBERS, st.booleans(), st.text(max_size=3), st.lists(st.integers(), max_size=2))
STAND_IN = -1.2345678901234567e307


@settings(deadline=None)
@given(st.one_of(st.lists(NUMBERS), st.lists(ANY)), st.sampled_from([(",", ":"), (" , ", " : ")]))
@example([None, STAND_IN, 1.5], (",", ":"))
@example([[1], [2]], (",", ":"))
@example([2**53 + 1, -(2**63), 2**64 - 1, 2**64], (",", ":"))
def test_a_list_comes_to_the_same_column_as_its_values(values: list[Any], separators: tuple[str, str]) -> None:
    text = json.dumps(values, separators=separators).encode()
    found = list_of(text)
    expected = column_of(msgspec.json.decode(text))
    if isinstance(found, np.ndarray):
        assert expected.codes is None
        assert not expected.n_invalid
        assert expected.numbers is not None
        assert np.array_equal(found, expected.numbers, equal_nan=True)
    else:
        assert found == msgspec.json.decode(text)


@pytest.mark.parametrize("values", [[1], [0.1, 1e300, -5], [None, 1], [None], [2**60 + 1, 0.5]])
def test_numbers_and_null_become_an_array(values: list[Any]) -> None:
    assert isinstance(list_of(json.dumps(values).encode()), np.ndarray)


@pytest.mark.parametrize(
    "text", [b"1", b"null", b"", b"{}", b"[1", b"[01]", b"[1e999]", b"[NaN]", b'["\xff"]', b"[1]]"]
)
def test_what_is_no_list_of_json_values_is_refused(text: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        list_of(text)


def test_a_parser_in_use_is_waited_for_by_nobody() -> None:
    held = numbers._parser.parse(b"[1]")
    assert list_of(b"[1, 2]") == [1, 2]
    del held
    assert isinstance(list_of(b"[1, 2]"), np.ndarray)
