"""Dead letters: the original comes back byte for byte, or leaves nothing behind."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import dead
from schemas.dead import Headers, dead_letter, read_dead
from schemas.records import PlainRecord

headers_of_any_kind = st.lists(
    st.tuples(st.text(max_size=20) | st.sampled_from([dead.TOPIC, dead.KEPT, dead.OFFSET]), st.binary(max_size=20)),
    max_size=5,
)


def as_read(key: bytes | None, value: bytes | None, headers: Headers) -> PlainRecord:
    return PlainRecord("drift.dead.v1", 0, 3, 0, value, key, headers)


def die(value: bytes | None = b"v", headers: Headers | None = None, *, keep_value: bool = True) -> PlainRecord:
    return as_read(
        *dead_letter(
            b"k",
            value,
            headers,
            topic="drift.events.v1",
            partition=4,
            offset=17,
            stage="profile",
            reason="not_json",
            error_class="msgspec.DecodeError",
            detail="byte 5",
            keep_value=keep_value,
        )
    )


@settings(deadline=None)
@given(st.none() | st.binary(), st.none() | st.binary(), headers_of_any_kind, st.integers(0, 2**63 - 1))
def test_the_original_comes_back_byte_for_byte(
    key: bytes | None, value: bytes | None, headers: Headers, offset: int
) -> None:
    record = as_read(
        *dead_letter(
            key, value, headers, topic="t", partition=2, offset=offset, stage="judge", reason="r", error_class="E"
        )
    )
    letter = read_dead(record)
    assert (letter.key, letter.value, letter.headers) == (key, value, headers)
    assert (letter.topic, letter.partition, letter.offset, letter.stage) == ("t", 2, offset, "judge")
    assert (letter.reason, letter.detail, letter.error_class, letter.kept) == ("r", "r", "E", True)


def test_kafka_connects_headers_say_where_and_why() -> None:
    assert dict(die().headers) == {
        "__connect.errors.topic": b"drift.events.v1",
        "__connect.errors.partition": b"4",
        "__connect.errors.offset": b"17",
        "__connect.errors.stage": b"profile",
        "__connect.errors.class.name": b"driftgauge.profile",
        "__connect.errors.exception.class.name": b"msgspec.DecodeError",
        "__connect.errors.exception.message": b"byte 5",
        "driftgauge.reason": b"not_json",
        "driftgauge.kept": b"1",
    }


def test_without_its_value_nothing_of_the_original_stays() -> None:
    record = die(b"secret", [("user", b"secret")], keep_value=False)
    assert (record.key, record.value) == (None, None)
    assert not any(b"secret" in value or name == "user" for name, value in record.headers)
    letter = read_dead(record)
    assert (letter.kept, letter.key, letter.value, letter.headers) == (False, None, None, [])
    assert (letter.topic, letter.partition, letter.offset) == ("drift.events.v1", 4, 17)


def test_a_tombstone_that_died_is_told_from_a_value_left_behind() -> None:
    assert read_dead(die(None)).kept
    assert not read_dead(die(keep_value=False)).kept


def test_a_letter_that_dies_again_shows_its_last_death_and_counts_both() -> None:
    once = die(headers=[("content-type", b"application/json")])
    twice = as_read(
        *dead_letter(
            once.key,
            once.value,
            once.headers,
            topic="again",
            partition=0,
            offset=1,
            stage="judge",
            reason="r",
            error_class="E",
        )
    )
    letter = read_dead(twice)
    assert (letter.topic, letter.n_deaths) == ("again", 2)
    assert letter.headers == once.headers
    assert read_dead(as_read(letter.key, letter.value, letter.headers)).headers == [
        ("content-type", b"application/json")
    ]


def test_a_long_message_is_cut() -> None:
    _, _, headers = dead_letter(
        None, None, None, topic="t", partition=0, offset=0, stage="s", reason="r", error_class="E", detail="ä" * 5_000
    )
    assert dict(headers)[dead.MESSAGE].decode() == "ä" * dead.MAX_DETAIL


@pytest.mark.parametrize(
    "headers", [[], [("x", b"1")], [(dead.TOPIC, b"t")], [*die().headers[:1], (dead.OFFSET, b"x")]]
)
def test_what_is_no_dead_letter_is_refused_by_its_position(headers: Headers) -> None:
    with pytest.raises(ValueError, match=r"drift\.dead\.v1\[0\]@3 is no dead letter: header __connect\.errors\."):
        read_dead(as_read(b"k", b"v", headers))
