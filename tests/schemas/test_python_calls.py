"""From bytes to counts no Python code runs per row."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.events import decode
from schemas.messages import ARROW
from schemas.records import PlainRecord
from tests.agents.conftest import Stage, stage
from tests.schemas.rows import T0, arrow, encoded, record

RNG = np.random.default_rng(5)
MANY, FEW = 10_000, 1_000


def features(n_rows: int) -> dict[str, list[Any]]:
    numbers = {f"f{n}": RNG.normal(size=n_rows).tolist() for n in range(8)}
    return {**numbers, "city": RNG.choice(["Lyon", "Paris"], n_rows).tolist()}


def as_rows(n_rows: int, **more: Any) -> list[PlainRecord]:
    names, lists = zip(*features(n_rows).items(), strict=True)
    given = [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]
    messages = [
        {"model": "m", "id": f"r{n}", "time": T0 + n, "features": one, "prediction": 0.5, **more}
        for n, one in enumerate(given)
    ]
    return [record(encoded(message), n) for n, message in enumerate(messages)]


def with_headers(n_rows: int) -> list[PlainRecord]:
    headers = [("traceparent", b"00"), ("content-type", b"application/json")]
    return [one._replace(headers=[*headers, ("n", b"%d" % n)]) for n, one in enumerate(as_rows(n_rows))]


def with_optional_features(n_rows: int) -> list[PlainRecord]:
    values = [{"f0": 1.0} if n % 3 else {"f0": 1.0, "city": "Lyon"} for n in range(n_rows)]
    messages = [{"model": "m", "time": T0 + n, "features": one} for n, one in enumerate(values)]
    return [record(encoded(message), n) for n, message in enumerate(messages)]


def with_probabilities(n_rows: int) -> list[PlainRecord]:
    return as_rows(n_rows, prediction={"yes": 0.75, "no": 0.25})


def with_mixed_values(n_rows: int) -> list[PlainRecord]:
    values = [1.0, "one", None, True, [1]]
    messages = [{"model": "m", "time": T0 + n, "features": {"f0": values[n % 5]}} for n in range(n_rows)]
    return [record(encoded(message), n) for n, message in enumerate(messages)]


def as_columns(n_rows: int) -> list[PlainRecord]:
    times = list(range(T0, T0 + n_rows))
    ids = [f"r{n}" for n in times]
    return [record(encoded({"model": "m", "times": times, "ids": ids, "columns": features(n_rows)}))]


def as_arrow(n_rows: int) -> list[PlainRecord]:
    table = {"time": np.arange(T0, T0 + n_rows), **{f"feature.{name}": one for name, one in features(n_rows).items()}}
    table["feature.f0"] = pa.array(table["feature.f0"], pa.float32())
    return [record(arrow({**table, "id": [f"r{n}" for n in range(n_rows)]}), 0, ARROW)]


def n_calls(work: Callable[[], Any]) -> int:
    """How many Python functions (comprehensions and resumed generators among them) the work calls."""
    count = 0

    def see(frame: Any, event: str, argument: Any) -> None:
        del frame, argument
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    gc.collect()
    gc.disable()  # other packages hang functions of theirs on collections
    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def counted(records: list[PlainRecord]) -> tuple[Stage, int]:
    made = stage(window="1d")
    return made, n_calls(lambda: made.update(records))


FORMS = [as_rows, with_headers, with_optional_features, with_probabilities, with_mixed_values, as_columns, as_arrow]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_ten_times_the_rows_cost_at_most_twice_the_calls(form: Callable[[int], list[PlainRecord]]) -> None:
    few, many = form(FEW), form(MANY)
    counted(form(2))  # what is imported and made once
    (small, n_small), (large, n_large) = counted(few), counted(many)
    assert (small.n_rows, large.n_rows) == (FEW, MANY)
    assert n_large <= 2 * n_small
    assert n_large < MANY // 4


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_decoding_alone_costs_the_same_calls_for_any_number_of_rows(form: Callable[[int], list[PlainRecord]]) -> None:
    few, many = form(FEW), form(MANY)
    decode(few)
    assert n_calls(lambda: decode(many)) <= n_calls(lambda: decode(few)) + 20
