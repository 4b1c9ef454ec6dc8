"""Messages of existing topics become the batches that the same rows as events would."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas.events import Decoded, decode
from schemas.mapped import MappedDecoder
from schemas.records import PlainRecord
from schemas.sources import Mapping, Source
from tests.schemas.rows import T0, encoded, seen

FOREVER = 1 << 62
FIELDS: dict[str, Any] = {
    "model": "meta.model",
    "version": "meta.version",
    "id": "request_id",
    "time": "created_at",
    "features": {"age": "input.age", "city": "input.address.city"},
    "prediction": "output.score",
    "latency_ms": "timing[0]",
    "error": "error",
    "slices": {"country": "input.address.country"},
}
MESSAGE: dict[str, Any] = {
    "meta": {"model": "m", "version": 7},
    "request_id": "r-1",
    "created_at": "2026-03-01T12:00:00Z",
    "input": {"age": 41, "address": {"city": "Lyon", "country": "FR"}},
    "output": {"score": 0.83},
    "timing": [12.5],
}


def source(**changes: Any) -> Source:
    """A source of the topic `scores` with these changes; one to None leaves the field out."""
    fields = {**FIELDS, **changes.pop("fields", {})}
    fields = {name: value for name, value in fields.items() if value is not None}
    return msgspec.convert({"topic": "scores", "fields": fields, **changes}, Source)


def record(message: Any, offset: int = 0, timestamp: int = T0, headers: Any = ()) -> PlainRecord:
    """A record of the mapped topic."""
    value = message if isinstance(message, bytes) or message is None else encoded(message)
    return PlainRecord("scores", 0, offset, timestamp, value, b"k", headers)


def decoded(*messages: Any, mappings: Any = None, **changes: Any) -> Decoded:
    """Decode messages at offsets 0, 1, … with the sources of model m, or the given mappings."""
    found = tuple(mappings) if mappings is not None else (Mapping("m", 0, FOREVER, source(**changes)),)
    return MappedDecoder(lambda: found).decode([record(message, at) for at, message in enumerate(messages)])


def why(*messages: Any, **changes: Any) -> list[tuple[int, str, str]]:
    """Return offset, reason and detail of what was rejected."""
    return [(bad.offset, bad.reason, bad.detail) for bad in decoded(*messages, **changes).rejected]


def test_a_mapped_message_is_the_row_it_would_be_as_an_event() -> None:
    row = {
        "model": "m", "version": 7, "id": "r-1", "time": "2026-03-01T12:00:00Z", "prediction": 0.83,
        "features": {"age": 41, "city": "Lyon"}, "latency_ms": 12.5,
    }  # fmt: skip
    found = decoded(MESSAGE)
    assert not found.rejected
    assert seen(found.batches) == seen(decode([record(row)]).batches)


def test_an_object_of_features_is_taken_whole() -> None:
    found = decoded({**MESSAGE, "input": {"a": 1, "b": "x"}}, fields={"features": "input"})
    assert seen(found.batches)["m"][0][4] == {"a": 1.0, "b": "x", "latency_ms": 12.5, "prediction": 0.83}


def test_a_list_of_features_takes_the_names_given() -> None:
    names = ["a", "b"]
    found = decoded({**MESSAGE, "input": [1, 2]}, fields={"features": "input", "slices": {}}, feature_names=names)
    assert {"a": 1.0, "b": 2.0}.items() <= seen(found.batches)["m"][0][4].items()
    assert why({**MESSAGE, "input": [1]}, fields={"features": "input"}, feature_names=names)[0][1] == "missing_field"


def test_a_message_with_a_star_is_a_row_for_each_item() -> None:
    batch = {
        "at": T0, "instances": [{"x": 1}, {"x": 2}], "scores": [0.5, 0.25], "ids": ["a", "b"], "meta": {"version": "1"}
    }  # fmt: skip
    fields = {
        "model": None, "time": "at", "id": "ids[*]", "features": "instances[*]", "prediction": "scores[*]",
        "slices": None, "error": None, "latency_ms": None,
    }  # fmt: skip
    found = decoded(batch, {**batch, "scores": [1]}, {**batch, "instances": {}}, batch, fields=fields)
    rows = seen(found.batches)["m"]
    assert [(row[0], row[3], row[4]) for row in rows] == [
        (0, "a", {"x": 1.0, "prediction": 0.5}),
        (0, "b", {"x": 2.0, "prediction": 0.25}),
        (3, "a", {"x": 1.0, "prediction": 0.5}),
        (3, "b", {"x": 2.0, "prediction": 0.25}),
    ]
    assert [(bad.offset, bad.reason) for bad in found.rejected] == [(1, "unequal_lengths"), (2, "missing_field")]


@pytest.mark.parametrize(
    ("change", "reason", "told"),
    [
        ({"created_at": None}, "missing_field", "created_at"),
        ({"created_at": "today"}, "time_invalid", "created_at"),
        ({"created_at": 1_772_366_400}, "time_invalid", "auto"),
        ({"meta": {}}, "missing_field", "meta.model"),
        ({"input": {}}, "missing_field", "input.age"),
        ({"input": 3}, "missing_field", "input.age"),
        ({"request_id": {"a": 1}}, "wrong_type", "request_id"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_with_the_field(change: Any, reason: str, told: str) -> None:
    found = decoded(MESSAGE, {**MESSAGE, **change}, MESSAGE)
    assert [(bad.offset, bad.reason) for bad in found.rejected] == [(1, reason)]
    assert told in found.rejected[0].detail
    assert [row[0] for row in seen(found.batches)["m"]] == [0, 2]


@pytest.mark.parametrize("value", [b"{", b"\xff", b"[" * 10_000, b"3", b"null", b'"x"', b"[]"])
def test_no_bytes_take_a_good_record_with_them(value: bytes) -> None:
    found = decoded(MESSAGE, value, None, MESSAGE)
    assert [row[0] for row in seen(found.batches)["m"]] == [0, 2 + 1]
    assert [bad.offset for bad in found.rejected] == [1]
    assert found.n_tombstones == 1


@pytest.mark.parametrize(
    ("form", "given"),
    [
        ("auto", T0),
        ("auto", "2026-03-01T13:00:00+01:00"),
        ("rfc3339", "2026-03-01T12:00:00Z"),
        ("utc", "2026-03-01 12:00:00.000"),
        ("utc", "2026-03-01T12:00:00Z"),
        ("s", T0 // 1000),
        ("s", T0 / 1000),
        ("s", str(T0 // 1000)),
        ("ms", T0),
        ("ms", str(T0)),
        ("us", T0 * 1000),
    ],
)
def test_every_time_format_reads_the_same_moment(form: str, given: Any) -> None:
    message = {**MESSAGE, "created_at": given}
    assert decoded(message, time_format=form).batches[0].times.tolist() == [T0]
    mixed = decoded(message, {**MESSAGE, "created_at": True}, time_format=form)
    assert mixed.batches[0].times.tolist() == [T0]
    assert mixed.rejected[0].reason == "time_invalid"


def test_the_records_own_timestamp_may_be_the_time() -> None:
    found = decoded({**MESSAGE, "created_at": None}, time_format="record", fields={"time": None})
    assert found.batches[0].times.tolist() == [T0]


def test_only_messages_that_match_where_are_read() -> None:
    other = {"type": "heartbeat"}
    found = decoded({**MESSAGE, "type": "score"}, other, b"{}", where={"type": "score"})
    assert [row[0] for row in seen(found.batches)["m"]] == [0]
    assert not found.rejected


def test_a_constant_and_what_the_record_carries_may_be_fields() -> None:
    features = {"zone": "@headers.zone", "topic": "@topic", "unit": {"const": "EUR"}}
    fields = {"version": {"const": "blue"}, "id": "@key", "features": features}
    mapping = (Mapping("m", 0, FOREVER, source(fields=fields)),)
    found = MappedDecoder(lambda: mapping).decode([record(MESSAGE, headers=[("zone", b"eu")])])
    (row,) = seen(found.batches)["m"]
    assert (row[1], row[3]) == ("blue", "k")
    assert {"zone": "eu", "topic": "scores", "unit": "EUR"}.items() <= row[4].items()


def test_several_models_of_one_topic_have_their_own_rows() -> None:
    both = [Mapping(model, 0, FOREVER, source()) for model in ("m", "n")]
    messages = [{**MESSAGE, "meta": {"model": model}} for model in ("m", "n", "x", "n")]
    found = decoded(*messages, mappings=both)
    assert {model: [row[0] for row in rows] for model, rows in seen(found.batches).items()} == {"m": [0], "n": [1, 3]}
    assert not found.rejected  # x is nobody's and nobody's mistake


def test_models_all_takes_the_rows_of_models_without_a_source_of_their_own() -> None:
    mappings = [
        Mapping("m", 0, FOREVER, source()),
        Mapping("n", 0, FOREVER, source(models="all")),
        Mapping("o", 0, FOREVER, source(models="all")),
    ]
    messages = [{**MESSAGE, "meta": {"model": model}} for model in ("m", "n", "x", "x")]
    found = decoded(*messages, mappings=mappings)
    rows = {model: [row[0] for row in rows] for model, rows in seen(found.batches).items()}
    assert rows == {"m": [0], "n": [1], "x": [2, 3]}


def test_a_record_one_source_takes_is_no_dead_letter_of_another() -> None:
    plain = source(fields={"model": None, "features": "values", "time": "t", "slices": None})
    mappings = [Mapping("m", 0, FOREVER, source()), Mapping("n", 0, FOREVER, plain)]
    found = decoded(MESSAGE, {"t": T0, "values": {"a": 1}}, {"neither": 1}, mappings=mappings)
    assert {model: len(rows) for model, rows in seen(found.batches).items()} == {"m": 1, "n": 1}
    assert [bad.offset for bad in found.rejected] == [2]


def test_of_two_sources_of_a_monitor_the_first_that_fits_takes_a_message() -> None:
    fallback = source(fields={"features": "input", "model": None, "version": None})
    both = [Mapping("m", 0, FOREVER, source()), Mapping("m", 0, FOREVER, fallback)]
    found = decoded(MESSAGE, {**MESSAGE, "meta": None}, mappings=both)
    assert [(row[0], row[1]) for row in seen(found.batches)["m"]] == [(0, "7"), (1, "")]
    assert not found.rejected


def test_each_row_is_read_by_the_version_in_force_at_its_event_time() -> None:
    old, new = source(), source(fields={"prediction": "output.other"})
    versions = [Mapping("m", 0, T0 + 10, old), Mapping("m", T0 + 10, FOREVER, new)]
    messages = [
        {**MESSAGE, "created_at": T0 + at, "output": {"score": 1, "other": 2}, "timing": []} for at in (0, 9, 10, 11)
    ]
    rows = seen(decoded(*messages, mappings=versions).batches)["m"]
    assert [row[4]["prediction"] for row in rows] == [1, 1, 2, 2]


def test_before_a_source_is_in_force_its_rows_are_nobodys() -> None:
    later = [Mapping("m", T0 + 10, FOREVER, source())]
    found = decoded(MESSAGE, {**MESSAGE, "created_at": None}, {**MESSAGE, "created_at": T0 + 10}, mappings=later)
    assert [row[0] for row in seen(found.batches)["m"]] == [2]
    assert not found.rejected


def test_too_many_features_are_refused() -> None:
    mapping = (Mapping("m", 0, FOREVER, source(fields={"features": "input"})),)
    decoder = MappedDecoder(lambda: mapping, max_features=2)
    found = decoder.decode([record({**MESSAGE, "input": {"a": 1, "b": 2, "c": 3}})])
    assert [bad.reason for bad in found.rejected] == ["too_many_features"]


def test_rows_as_events_decode_to_the_same_rows() -> None:
    odd = {**MESSAGE, "input": {"age": float("nan"), "address": {"city": "\ud800"}}, "output": {"score": float("inf")}}
    classes = {**MESSAGE, "output": {"score": {"yes": 0.25, "no": 0.75}}, "meta": {"model": "m", "version": 8}}
    mapping = (Mapping("m", 0, FOREVER, source()),)
    decoder = MappedDecoder(lambda: mapping)
    records = [record(message, at) for at, message in enumerate([MESSAGE, odd, classes])]
    found = decoder.decode(records)
    events = [decoder.kept(one, "m") for one in records]
    assert [len(several) for several in events] == [1, 1, 1]
    again = decode([one for (one,) in events])
    assert not again.rejected
    assert seen(again.batches) == seen(found.batches)
    assert decoder.kept(records[0], "other") == []


def test_a_mapping_that_changes_is_followed() -> None:
    now: list[tuple[Mapping, ...]] = [()]
    decoder = MappedDecoder(lambda: now[0])
    assert not decoder.decode([record(MESSAGE)]).batches
    now[0] = (Mapping("m", 0, FOREVER, source()),)
    assert decoder.decode([record(MESSAGE, 1)]).batches
