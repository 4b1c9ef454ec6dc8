"""Feedback messages: every good row is kept, every bad one has a reason."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import feedback
from schemas.feedback import MAX_ROWS, Feedback, FeedbackColumns, decode, decode_message, encode
from schemas.parsing import ARROW
from schemas.records import PlainRecord

TIME_MS = 1_772_366_400_250
ROW: dict[str, Any] = {"model": "m", "id": "a", "time": "2026-03-01T12:00:00.250Z", "kind": "label", "value": 1}


def message(**changes: Any) -> bytes:
    return json.dumps({**ROW, **changes}).encode()


def columns(n_rows: int = 3, **changes: Any) -> bytes:
    fields = {
        "model": "m",
        "ids": [f"id-{n}" for n in range(n_rows)],
        "times": [TIME_MS] * n_rows,
        "kind": "label",
        "values": list(range(n_rows)),
    }
    return json.dumps({**fields, **changes}).encode()


def arrow(metadata: dict[str, str] | None, **fields: Any) -> bytes:
    table = pa.table(fields).replace_schema_metadata(metadata)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_one_row_becomes_a_batch_of_one() -> None:
    batch, rejected = decode_message(message(source="app", user="u1"), offset=7)
    assert rejected == []
    assert batch.n_rows == 1
    assert [column[0] for column in batch] == ["m", "a", "", "", TIME_MS, "label", None, 1.0, "app", "u1", 7]


@pytest.mark.parametrize(
    "time", [TIME_MS, float(TIME_MS), "2026-03-01T14:00:00.250+02:00", "2026-03-01T12:00:00.2509Z"]
)
def test_times_are_epoch_milliseconds_whatever_their_form(time: Any) -> None:
    batch, _ = decode_message(message(time=time))
    assert batch.time == [TIME_MS]


@pytest.mark.parametrize(
    ("value", "text", "number"),
    [("good", "good", None), ("", "", None), (3, None, 3.0), (0.5, None, 0.5), (True, None, 1.0), (False, None, 0.0)],
)
def test_a_value_is_text_or_a_number_and_never_both(value: Any, text: str | None, number: float | None) -> None:
    batch, rejected = decode_message(message(value=value))
    assert (batch.value_text, batch.value_number, rejected) == ([text], [number], [])


def test_any_word_is_a_kind() -> None:
    assert decode_message(message(kind="sneezed"))[0].kind == ["sneezed"]


def test_a_span_may_stand_for_the_id_and_its_hex_becomes_lower_case() -> None:
    span = {"id": None, "trace_id": "AB" * 16, "span_id": "CD" * 8}
    batch, rejected = decode_message(message(**span))
    assert (batch.id, batch.trace_id, batch.span_id, rejected) == ([""], ["ab" * 16], ["cd" * 8], [])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": None}, "missing_field"),
        ({"model": ""}, "missing_field"),
        ({"model": 7}, "wrong_type"),
        ({"model": "x" * 201}, "wrong_type"),
        ({"id": None}, "missing_field"),
        ({"id": None, "trace_id": "ab" * 16}, "missing_field"),
        ({"trace_id": "xyz"}, "wrong_type"),
        ({"kind": None}, "missing_field"),
        ({"kind": "k" * 65}, "wrong_type"),
        ({"value": None}, "missing_field"),
        ({"value": {"a": 1}}, "wrong_type"),
        ({"value": "x" * (feedback.MAX_TEXT + 1)}, "wrong_type"),
        ({"value": float("nan")}, "wrong_type"),
        ({"value": float("inf")}, "wrong_type"),
        ({"value": "half \ud800"}, "wrong_type"),
        ({"time": None}, "missing_field"),
        ({"time": "2026-03-01T12:00:00"}, "wrong_type"),
        ({"time": "yesterday"}, "wrong_type"),
        ({"time": True}, "wrong_type"),
        ({"time": TIME_MS // 1000}, "bad_time"),
        ({"time": TIME_MS * 1000}, "bad_time"),
        ({"time": TIME_MS + 0.5}, "bad_time"),
        ({"time": float("inf")}, "bad_time"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    batch, rejected = decode_message(message(**changes), offset=9)
    assert batch.n_rows == 0
    assert [(one.offset, one.reason, one.n_rows) for one in rejected] == [(9, reason, 1)]
    assert rejected[0].detail.startswith("row 0: ")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"\xff{}", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"model":' * 100_000, "not_json"),
        (b"[]", "wrong_type"),
        (b"7", "wrong_type"),
        (columns(times=[TIME_MS]), "unequal_lengths"),
        (columns(values="abc"), "wrong_type"),
        (columns(model=None), "missing_field"),
        (columns(model=["m", "n", "o"]), "missing_field"),
        (columns(MAX_ROWS + 1), "too_many_rows"),
        (b"\xff\xff\xff\xffnonsense", "arrow_invalid"),
    ],
)
def test_an_unusable_message_is_rejected_whole(value: bytes, reason: str) -> None:
    batch, rejected = decode_message(value)
    assert batch.n_rows == 0
    assert [(one.reason, one.n_rows) for one in rejected] == [(reason, 0)]


def test_bad_rows_of_columns_do_not_take_the_good_ones_along() -> None:
    value = columns(5, values=[1, None, float("nan"), "x", True], times=[TIME_MS, TIME_MS, TIME_MS, "never", TIME_MS])
    batch, rejected = decode_message(value)
    assert batch.id == ["id-0", "id-4"]
    assert [one.detail.split(":")[0] for one in rejected] == ["row 1", "row 2", "row 3"]


def test_columns_may_name_kind_source_and_user_per_row_or_once() -> None:
    batch, rejected = decode_message(columns(2, kinds=["thumbs", "edit"], source="app", users=["u", None]))
    assert rejected == []
    assert (batch.kind, batch.source, batch.user) == (["thumbs", "edit"], ["app", "app"], ["u", ""])


def test_a_full_message_is_accepted_to_the_last_row() -> None:
    batch, rejected = decode_message(columns(MAX_ROWS))
    assert (batch.n_rows, rejected) == (MAX_ROWS, [])


def test_arrow_columns_decode_like_json_columns() -> None:
    times = pa.array([TIME_MS, TIME_MS], pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    value = arrow({"model": "m", "kind": "label"}, id=["a", None], time=times, value=[0.5, 1.0])
    for content_type in (ARROW, None):
        batch, rejected = decode_message(value, content_type=content_type)
        assert (batch.id, batch.time, batch.value_number, batch.kind) == (["a"], [TIME_MS], [0.5], ["label"])
        assert [one.reason for one in rejected] == ["missing_field"]


def test_the_content_type_decides_before_the_first_byte() -> None:
    assert decode_message(message(), content_type="Application/JSON; charset=utf-8")[0].n_rows == 1
    assert decode_message(message(), content_type=ARROW)[1][0].reason == "arrow_invalid"
    assert decode_message(message(), content_type="text/csv")[1][0].reason == "unknown_content_type"


def test_reasons_never_quote_values() -> None:
    for changes in (
        {"value": {"secret": "secret"}},
        {"time": "secret"},
        {"user": "secret" * 100},
        {"value": "secret\ud800"},
    ):
        _, rejected = decode_message(message(**changes))
        assert rejected
        assert "secret" not in rejected[0].detail


def test_records_of_a_poll_keep_order_and_offsets_around_bad_ones_and_tombstones() -> None:
    values = [message(id="a"), None, b"broken", columns(2)]
    records = [PlainRecord("t", 0, 10 + n, TIME_MS, value) for n, value in enumerate(values)]
    batch, rejected, n_tombstones = decode(records)
    assert list(zip(batch.id, batch.offset, strict=True)) == [("a", 10), ("id-0", 13), ("id-1", 13)]
    assert [one.offset for one in rejected] == [12]
    assert n_tombstones == 1


def test_what_is_encoded_decodes_to_the_same() -> None:
    row = Feedback("m", TIME_MS, "verbatim", "très bien", id="a", user="u")
    batch, rejected = decode_message(encode(row))
    assert (batch.value_text, batch.user, rejected) == (["très bien"], ["u"], [])
    many = FeedbackColumns("m", [TIME_MS, TIME_MS], ["x", 2.0], ids=["a", 4], kind="label")
    batch, rejected = decode_message(encode(many))
    assert (batch.id, batch.value_text, batch.value_number, rejected) == (["a", "4"], ["x", None], [None, 2.0], [])


def test_json_schemas_name_every_field() -> None:
    for kind in (Feedback, FeedbackColumns):
        schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
        assert set(schema["properties"]) == set(kind.__struct_fields__)


def test_unknown_fields_are_ignored() -> None:
    assert decode_message(message(version="7", later=1))[1] == []


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 255))
def test_no_bytes_make_decoding_raise(junk: bytes, position: int, byte: int) -> None:
    good = bytearray(columns(4))
    good[position % len(good)] = byte
    for value in (junk, bytes(good), b"\xff\xff\xff\xff" + junk):
        batch, rejected = decode_message(value)
        assert batch.n_rows or rejected or value
        assert len({len(column) for column in batch}) == 1


@settings(deadline=None)
@given(st.lists(st.sampled_from(["good", "bad"]), max_size=50))
def test_every_row_is_either_kept_or_rejected(rows: list[str]) -> None:
    values: list[Any] = [1 if row == "good" else {} for row in rows]
    batch, rejected = decode_message(columns(len(rows), values=values))
    assert batch.n_rows == rows.count("good")
    assert len(rejected) == rows.count("bad")
