"""However records are cut into polls, the same rows come out in the same order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import decode
from schemas.messages import ARROW
from schemas.records import PlainRecord
from tests.schemas.rows import T0, arrow, encoded, record, seen

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(width=64),
    st.text(st.characters(codec="utf-8"), max_size=3),
    st.just([1]),
    st.just({"a": 1}),
)
PROBABILITIES = st.dictionaries(st.sampled_from("abcdefghijkl"), st.floats(0, 1) | st.none(), max_size=12)
PREDICTIONS = st.one_of(VALUES, PROBABILITIES)
TIMES = st.integers(T0, T0 + 10_000) | st.sampled_from(["2026-03-01T12:00:00Z", "2026-03-01T12:00:01.5Z", 5, 2**70])
FEATURES = st.dictionaries(st.sampled_from(["x", "y", "error", "features.error"]), VALUES, max_size=4)
HEADS = st.fixed_dictionaries(
    {"model": st.sampled_from(["m", "n"])}, optional={"version": st.sampled_from(["1", "2", 2, None])}
)


@st.composite
def rows(draw: st.DrawFn) -> tuple[bytes, None]:
    optional = {"id": st.sampled_from(["a", 4, None]), "prediction": PREDICTIONS, "latency_ms": VALUES, "error": VALUES}
    body = draw(st.fixed_dictionaries({"time": TIMES, "features": FEATURES}, optional=optional))
    return encoded({**draw(HEADS), **body}), None


@st.composite
def columns(draw: st.DrawFn) -> tuple[bytes, None]:
    n_rows = draw(st.integers(0, 4))

    def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(of, min_size=n_rows, max_size=n_rows)

    optional = {"ids": lists(st.sampled_from(["a", 4, None])), "predictions": lists(PREDICTIONS)}
    required = {"times": lists(TIMES), "columns": st.dictionaries(st.sampled_from("xyz"), lists(VALUES), max_size=3)}
    return encoded({**draw(HEADS), **draw(st.fixed_dictionaries(required, optional=optional))}), None


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, str]:
    n_rows = draw(st.integers(0, 4))
    kind = draw(st.sampled_from([st.floats(width=32), st.integers(-9, 9), st.sampled_from(["a", "b", None])]))
    values = draw(st.lists(kind, min_size=n_rows, max_size=n_rows))
    times = draw(st.lists(st.integers(T0, T0 + 10_000), min_size=n_rows, max_size=n_rows))
    metadata = {name: str(value) for name, value in draw(HEADS).items() if value is not None}
    name = draw(st.sampled_from(["feature.x", "prediction", "prediction.a", "latency_ms", "feature.error"]))
    return arrow({"time": times, name: values} if n_rows else {"time": np.empty(0, np.int64)}, metadata), ARROW


BAD = st.sampled_from([(b"{", None), (b"\xff\xff\xff\xff", None), (b"[1]", None), (b"", ARROW)])
MESSAGES = st.lists(st.one_of(rows(), columns(), tables(), BAD), max_size=20)


def poll(records: list[PlainRecord], cuts: list[int]) -> tuple[dict[str, list[Any]], list[Any]]:
    """Rows per model and refusals of records taken in several polls."""
    together: dict[str, list[Any]] = {}
    refused: list[Any] = []
    edges = [0, *sorted(cut for cut in cuts if cut < len(records)), len(records)]
    for start, stop in pairwise(edges):
        decoded = decode(records[start:stop])
        refused += sorted((one.offset, one.reason, one.n_rows) for one in decoded.rejected)
        for model, found in seen(decoded.batches).items():
            together.setdefault(model, []).extend(found)
    return together, refused


@settings(deadline=None, max_examples=200)
@given(MESSAGES, st.lists(st.integers(0, 20), max_size=6))
def test_any_cut_gives_the_same_rows_in_the_same_order(messages: list[Any], cuts: list[int]) -> None:
    records = [record(value, n, content_type) for n, (value, content_type) in enumerate(messages)]
    whole = poll(records, [])
    assert poll(records, cuts) == whole
    assert poll(records, list(range(len(records)))) == whole
    for batch in decode(records).batches:
        assert batch.offsets.tolist() == sorted(batch.offsets.tolist())


def test_each_version_of_a_model_is_one_batch_however_they_alternate() -> None:
    values = [encoded({"model": "m", "version": str(n % 2), "time": T0 + n, "features": {"x": n}}) for n in range(6)]
    batches = decode([record(value, n) for n, value in enumerate(values)]).batches
    assert [(batch.version, batch.times.tolist()) for batch in batches] == [
        ("0", [T0, T0 + 2, T0 + 4]),
        ("1", [T0 + 1, T0 + 3, T0 + 5]),
    ]


def test_rows_with_other_features_share_one_batch() -> None:
    values = [encoded({"model": "m", "time": T0, "features": {"x": n} if n % 3 else {"y": n}}) for n in range(9)]
    (batch,) = decode([record(value, n) for n, value in enumerate(values)]).batches
    assert batch.offsets.tolist() == list(range(9))
    assert seen([batch])["m"][3][4] == {"y": 3.0}


def test_entropy_is_the_same_alone_and_in_company() -> None:
    rng = np.random.default_rng(3)
    given = [dict(zip("abcdefghijklm", map(float, rng.dirichlet(np.ones(13))), strict=True)) for _ in range(200)]
    values = [encoded({"model": "m", "time": T0, "features": {}, "prediction": one}) for one in given]
    records = [record(value, n) for n, value in enumerate(values)]
    assert poll(records, list(range(200))) == poll(records, [])


def test_records_without_a_timestamp_are_decoded() -> None:
    nothing: Any = None
    bare = record(encoded({"model": "m", "time": T0, "features": {}}), timestamp=nothing)
    assert decode([bare]).batches[0].record_times.tolist() == [-1]
