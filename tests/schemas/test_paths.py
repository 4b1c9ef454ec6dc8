"""Paths into documents: what is one, and what each leads to."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.paths import BadPathError, Columns, Rows, compiled

DOCUMENT: Any = {
    "a": {"b": [10, {"c": 1}], "with.dot": 2, "x-y": 3},
    "rows": [{"age": 1}, {"age": 2}, {"other": 0}],
    "out": [0.1, 0.2, 0.3],
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b[0]", 10),
        ("a.b[-1].c", 1),
        ("$.a.b[1].c", 1),
        ('a["with.dot"]', 2),
        ("a.x-y", 3),
        ("a.b[2]", None),
        ("a.b.c", None),
        ("rows.age", None),
        ("a[0]", None),
        ("nothing.at.all", None),
    ],
)
def test_a_path_leads_to_a_value_or_to_none(text: str, value: object) -> None:
    assert Columns([DOCUMENT]).at(compiled(text).before) == [value]


@pytest.mark.parametrize("text", ["", "a..b", "a.", "a[", "a[x]", "a[*][*]", "a b.[", "[0]b", "a]", 'a["', "x" * 501])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(BadPathError):
        compiled(text)


def test_a_starred_path_gives_a_value_for_each_item_beside_values_for_all() -> None:
    rows = Rows([DOCUMENT, {"a": {"x-y": 4}, "rows": [{"age": 9}], "out": [0.9]}], [3, 1])
    assert rows.at(compiled("rows[*].age")) == [1, 2, None, 9]
    assert rows.at(compiled("out[*]")) == [0.1, 0.2, 0.3, 0.9]
    assert rows.at(compiled("a.x-y")) == [3, 3, 3, 4]
    assert rows.at(compiled("missing[*]")) == [None] * 4


def test_a_message_may_be_a_list_itself() -> None:
    assert Rows([[{"v": 1}, {"v": 2}]], [2]).at(compiled("[*].v")) == [1, 2]
