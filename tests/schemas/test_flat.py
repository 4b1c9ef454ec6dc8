"""Rows read together as one table come to what reading them one by one gives."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas import events
from schemas.events import decode
from schemas.flat import MIN_ROWS, NotAlikeError, table_of
from tests.schemas.rows import ROW, encoded, record, row, seen

NUMBERS = st.one_of(st.none(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False))
LABELS = st.one_of(
    st.none(), st.sampled_from(["Lyon", "", "null", "a, b", 'a", "b', ": x", ", ", "12:30", "{}", "é", "5"])
)
PLAIN = st.fixed_dictionaries({"x": NUMBERS, "a b": NUMBERS, "city": LABELS})
ODD = st.dictionaries(
    st.sampled_from(["x", "a b", "city", "", "\ud800", "y:{"]),
    st.one_of(NUMBERS, LABELS, st.booleans(), st.lists(st.integers(), max_size=1), PLAIN, st.just(float("inf"))),
    max_size=4,
)
PREDICTIONS = st.one_of(
    st.none(), st.floats(0, 1), st.fixed_dictionaries({"yes": st.floats(0, 1)}), st.just({"no": 1.0})
)


def both_ways(values: list[bytes]) -> None:
    """Decode the values together and one by one: the same rows, the same refusals."""
    records = [record(value, offset) for offset, value in enumerate(values)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "MIN_ROWS", 1)
        together = decode(records)
        patch.setattr(events, "MIN_ROWS", len(records) + 1)
        singly = decode(records)
    assert seen(together.batches) == seen(singly.batches)
    assert sorted(together.rejected) == sorted(singly.rejected)


@settings(deadline=None, max_examples=300)
@given(st.lists(PLAIN, min_size=1, max_size=4), st.lists(ODD, max_size=1), st.sampled_from([(",", ":"), (", ", ": ")]))
@example([{"x": 1, "a b": 2, "city": "a"}], [{"x": 1, "a b": {"city": "b"}}], (",", ":"))
@example([{"x": 1, "a b": 2, "city": "a"}], [{"x": "1", "a b": 2, "city": "a"}], (",", ":"))
@example([{"x": 1, "a b": 2, "city": "a"}], [{"x": 1, "a b": 2, "city": 3}], (",", ":"))
@example([{"x": 1, "a b": 2, "city": "a"}], [{"a b": 2, "x": 1, "city": "a"}], (", ", ": "))
def test_rows_together_are_the_rows_one_by_one(
    plain: list[dict[str, Any]], odd: list[dict[str, Any]], separators: tuple[str, str]
) -> None:
    both_ways([json.dumps({**ROW, "features": one}, separators=separators).encode() for one in [*plain, *odd]])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["m", "n"]), st.sampled_from([1, "1", None]), PREDICTIONS), min_size=1))
def test_models_versions_and_predictions_together_are_those_one_by_one(rows: list[tuple[Any, Any, Any]]) -> None:
    both_ways([row(model=model, version=version, prediction=prediction) for model, version, prediction in rows])


@pytest.mark.parametrize(
    "value",
    [
        row().replace(b"1.5", b"1e999"),
        row().replace(b"1.5", b"1" * 400),
        row().replace(b"1.5", b"1" * 5_000),
        row().replace(b"Lyon", b"\xff"),
        row().replace(b'"x": 1.5', b'"x": 1, "x": 2'),
        row().replace(b'"x"', b'"\\u0078"'),
        row().replace(b", ", b",\n"),
        row(features=[1]),
        row(features=5),
        row(features={}),
        row(features={"f" * 201: 1}),
        row(time=1),
        row(time="2026-03-01T12:00:00Z"),
        b"{",
    ],
)
def test_an_odd_row_beside_plain_ones_is_read_as_if_alone(value: bytes) -> None:
    both_ways([row(), value, row(), row()])
    both_ways([value, row(), row()])
    both_ways([value, value])


@pytest.mark.parametrize("write", [encoded, orjson.dumps])
def test_plain_rows_are_read_together(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(events, "parse")
    decoded = decode([record(write(ROW), offset) for offset in range(MIN_ROWS)])
    assert seen(decoded.batches)["m"][-1][4] == {"x": 1.5, "city": "Lyon"}


@pytest.mark.parametrize(
    "text", [b'{"x":1,"y":"a"}', b'{"x":1e999}', b'{"y":1}', b"{}", b"[1]", b'{"x":true}', b'{"x":"1"}']
)
def test_objects_that_are_not_alike_are_refused(text: bytes) -> None:
    with pytest.raises(NotAlikeError):
        table_of([msgspec.Raw(b'{"x":1}'), msgspec.Raw(text)], 10)
