"""Everything the client's own encoders send decodes without the loss of a row."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from driftgauge_client.arrow import arrow_columns, table_of
from driftgauge_client.columns import Given, event_columns, feedback_columns
from driftgauge_client.rows import Unusable, encode_event, encode_feedback, encode_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import events, feedback
from schemas.columns import Batch
from schemas.messages import ARROW
from tests.schemas.rows import T0, record, seen, values_of

LIMIT_BYTES = 200_000
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=()), max_size=8)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXT,
    st.binary(max_size=3),
    st.datetimes(),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    st.just(pd.NA),
    st.just(np.float32(1.5)),
    st.just(np.int8(3)),
    st.just(np.bool_(True)),
    st.just(np.datetime64("NaT")),
    st.just(np.arange(3)),
    st.just(object()),
    st.just([1, {"a": (2,)}]),
)
ROWS = st.fixed_dictionaries(
    {
        "features": st.dictionaries(TEXT, SCALARS, max_size=4),
        "prediction": st.one_of(
            st.none(),
            st.floats(),
            TEXT,
            st.booleans(),
            st.lists(st.floats(0, 1), max_size=3),
            st.just({"a": 0.5, 2: 0.5}),
        ),
        "id": st.one_of(st.none(), TEXT, st.integers(), st.uuids()),
        "latency_ms": st.none() | st.floats() | st.integers(0, 10**6),
        "error": st.one_of(st.none(), st.booleans(), TEXT, st.just(ValueError("x")), st.just(500)),
        "slices": st.none() | st.dictionaries(TEXT, SCALARS.filter(lambda one: type(one) is not object), max_size=2),
        "entity": st.none() | TEXT | st.integers(),
        "feature_version": st.none() | TEXT | st.integers(),
        "metadata": st.none() | st.dictionaries(TEXT, SCALARS, max_size=2),
    }
)


def decoded(messages: Iterable[tuple[bytes, int]], content_type: str | None = None) -> tuple[list[Batch], int]:
    """Batches of messages as sent, and how many rows the client says they have."""
    sent = list(messages)
    made = events.decode([record(value, n, content_type) for n, (value, _) in enumerate(sent)])
    assert made.rejected == []
    return made.batches, sum(n_rows for _, n_rows in sent)


def n_rows_of(batches: list[Batch]) -> int:
    return sum(len(batch.times) for batch in batches)


@settings(deadline=None, max_examples=150)
@given(st.lists(ROWS, min_size=1, max_size=12), st.integers(1_000, LIMIT_BYTES))
def test_single_rows_arrive_whatever_they_carry(rows: list[dict[str, Any]], limit_bytes: int) -> None:
    unusable = Unusable()
    encoded: list[bytes] = []
    for row in rows:
        try:
            encoded.append(encode_event(**row, time_ms=T0 + len(encoded), unusable=unusable))
        except (TypeError, ValueError, OverflowError):
            continue  # what the client itself refuses, it counts
    if not encoded:
        return
    batches, n_rows = decoded(encode_rows("event", "m", "7", encoded, limit_bytes, lambda: None))
    assert n_rows_of(batches) == n_rows == len(encoded)
    assert [time_ms for _, _, time_ms, _, _ in seen(batches)["m"]] == list(range(T0, T0 + n_rows))


def mapping(n_rows: int) -> dict[str, Any]:
    return {
        "x": np.linspace(0, 1, n_rows),
        "n": list(range(n_rows)),
        "city": ["Lyon", None, "Pa\ud800ris"] * (n_rows // 3),
        "when": [datetime(2026, 3, 1, tzinfo=UTC)] * n_rows,
        "day": pd.Series([date(2026, 3, 1)] * n_rows),
        "flag": np.arange(n_rows) % 2 == 0,
        "mixed": [1, "a", None] * (n_rows // 3),
        "huge": [2**70, Decimal("1.5"), UUID(int=1)] * (n_rows // 3),
        "vector": [[1.0, 2.0]] * n_rows,
        "narrow": np.ones(n_rows, np.float16),
    }


EVERYTHING: dict[str, Any] = {
    "ids": range(300),
    "times": np.arange(T0, T0 + 300),
    "latencies_ms": np.linspace(1, 9, 300),
    "errors": [None, True, ValueError("x")] * 100,
    "entities": [UUID(int=n) for n in range(300)],
    "slices": {"country": ["FR", None, 3] * 100},
}


@pytest.mark.parametrize(
    "predictions",
    [
        np.linspace(0, 1, 300),
        ["yes", "no", None] * 100,
        np.full((300, 3), 1 / 3),
        {"yes": np.full(300, 0.75), "no": np.full(300, 0.25)},
    ],
    ids=["numbers", "labels", "matrix", "classes"],
)
def test_json_columns_arrive_whatever_they_carry(predictions: Any) -> None:
    unusable = Unusable()
    made = event_columns("m", "7", mapping(300), Given(predictions, **EVERYTHING), unusable)
    batches, n_rows = decoded(made.messages(97, LIMIT_BYTES))
    assert n_rows_of(batches) == n_rows == 300
    (batch,) = batches
    assert batch.ids == [str(n) for n in range(300)]
    assert values_of(batch, "x") == np.linspace(0, 1, 300).tolist()
    assert values_of(batch, "city")[:3] == ["Lyon", None, "Pa?ris"]
    assert values_of(batch, "huge")[:2] == [2.0**70, 1.5]
    assert values_of(batch, "error")[:3] == [None, "true", "ValueError: x"]
    assert batch.columns["latency_ms"].numbers is not None
    assert "prediction" in batch.columns


FRAMES: dict[str, Any] = {
    "x": np.linspace(0, 1, 300),
    "narrow": np.linspace(0, 1, 300).astype(np.float32),
    "half": np.ones(300, np.float16),
    "whole": pd.array([1, None, 3] * 100, "Int64"),
    "city": pd.Categorical(["Lyon", None, "Paris"] * 100),
    "text": pd.array(["a", None, "b"] * 100, "string"),
    "flag": [True, False, True] * 100,
    "when": pd.date_range("2026-03-01", periods=300, freq="s", tz="Europe/Paris"),
    "lasted": pd.to_timedelta(np.arange(300), unit="s"),
    "price": [Decimal("1.25")] * 300,
    "vector": [[1.0]] * 300,
    "nothing": [None] * 300,
}


@pytest.mark.parametrize(
    "times", [EVERYTHING["times"], FRAMES["when"], "when", T0, None], ids=lambda one: type(one).__name__
)
def test_arrow_columns_arrive_whatever_they_carry(times: Any) -> None:
    table = table_of(pd.DataFrame(FRAMES))
    columns = Given(
        {"yes": np.full(300, 0.75), "no": np.full(300, 0.25)},
        ids=range(300),
        times=times,
        latencies_ms=np.linspace(1, 9, 300),
        errors=[None, "timeout", None] * 100,
        entities=["a"] * 300,
        slices={"country": ["FR", None, "DE"] * 100},
    )
    batches, n_rows = decoded(arrow_columns("m", "7", table, columns).messages(97, LIMIT_BYTES), ARROW)
    assert n_rows_of(batches) == n_rows == 300
    (batch,) = batches
    assert (batch.version, batch.ids) == ("7", [str(n) for n in range(300)])
    assert values_of(batch, "city")[:3] == ["Lyon", None, "Paris"]
    assert values_of(batch, "whole")[:3] == [1.0, None, 3.0]
    assert values_of(batch, "prediction") == ["yes"] * 300
    assert values_of(batch, "confidence") == [0.75] * 300
    narrow = batch.columns["narrow"].numbers
    assert narrow is not None
    assert narrow.dtype == np.float32
    assert set(batch.columns) >= {"price", "lasted", "latency_ms", "error", "flag", "text", "half", "nothing", "vector"}


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int16(), pa.string())])
def test_text_of_any_arrow_type_arrives(kind: Any) -> None:
    table = pa.table({"city": pa.array(["Lyon", None, "Paris"]).cast(kind)})
    batches, _ = decoded(arrow_columns("m", "", table, Given()).messages(10, LIMIT_BYTES), ARROW)
    assert values_of(batches[0], "city") == ["Lyon", None, "Paris"]


def test_rows_columns_and_arrow_of_the_same_data_decode_to_the_same_rows() -> None:
    data: dict[str, Any] = {"x": [0.5, 1.5, 2.5], "city": ["Lyon", None, "Paris"], "flag": [True, False, True]}
    times = [T0, T0 + 1, T0 + 2]
    names = list(data)
    encoded = [
        encode_event(
            dict(zip(names, values, strict=True)), 0.5, n, times[n], 2.0, None, None, None, None, None, Unusable()
        )
        for n, values in enumerate(zip(*data.values(), strict=True))
    ]
    columns = Given([0.5] * 3, ids=range(3), times=times, latencies_ms=[2.0] * 3)
    forms = [
        decoded(encode_rows("event", "m", "7", encoded, LIMIT_BYTES, lambda: None))[0],
        decoded(event_columns("m", "7", dict(data), columns, Unusable()).messages(10, LIMIT_BYTES))[0],
        decoded(arrow_columns("m", "7", pa.table(data), columns).messages(10, LIMIT_BYTES), ARROW)[0],
    ]
    first, *others = [seen(batches) for batches in forms]
    assert others == [first, first]


def test_feedback_rows_and_columns_arrive() -> None:
    rows = [encode_feedback(f"id-{n}", None, None, T0 + n, "label", n % 2, "app", None) for n in range(9)]
    rows.append(encode_feedback(None, "ab" * 16, "cd" * 8, T0, "verbatim", "bien \ud800", None, "u"))
    lists = {"ids": range(3), "values": [1.5, "x", True], "kinds": ["rating", "verbatim", "thumbs"], "source": "app"}
    messages = [
        *encode_rows("feedback", "m", "", rows, LIMIT_BYTES, lambda: None),
        *feedback_columns("m", lists, T0, Unusable()).messages(10, LIMIT_BYTES),
    ]
    made = feedback.decode([record(value, n) for n, (value, _) in enumerate(messages)])
    assert made.rejected == []
    assert made.batch.n_rows == 13
    assert made.batch.value_text[9] == "bien ?"
