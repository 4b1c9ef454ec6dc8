"""Evidence comes back as it was sent; anything else is refused in one way."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import evidence
from schemas.codec import encode_counts
from schemas.evidence import Apply, Blocks, Partial, Promote, Tick, WindowCounts

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
INT64 = st.integers(-(2**63), 2**63 - 1)
UNSEEN = st.dictionaries(TEXT, st.dictionaries(TEXT, INT64, max_size=2), max_size=2)
WINDOWS = st.builds(
    WindowCounts, TEXT, TEXT, INT64, TEXT, INT64, INT64, INT64, INT64, st.binary(max_size=9), UNSEEN, INT64
)
INT16 = st.integers(-(2**15), 2**15 - 1)


def blocks_of(name: str, first: int, means: list[tuple[int, int]]) -> Blocks:
    """Return blocks with these times and values."""
    times, values = np.array([t for t, _ in means], "<i8"), np.array([v for _, v in means], "<i2")
    return Blocks("", name, name, first, times.tobytes(), values.tobytes())


BLOCKS = st.builds(blocks_of, TEXT, INT64, st.lists(st.tuples(INT64, INT16), max_size=3))
PARTIALS = st.builds(
    Partial,
    TEXT,
    INT64,
    TEXT,
    st.lists(WINDOWS, max_size=3),
    st.lists(BLOCKS, max_size=3),
    st.none() | INT64,
    st.booleans(),
)
ANY = st.one_of(
    PARTIALS,
    st.builds(Tick, INT64),
    st.builds(Promote, TEXT, TEXT, TEXT),
    st.builds(Apply, TEXT, st.binary(max_size=9)),
)


@settings(deadline=None)
@given(ANY)
def test_evidence_comes_back_as_it_was(message: evidence.Evidence) -> None:
    assert evidence.decode(evidence.encode(message)) == message


def decodes(value: bytes) -> bool:
    try:
        evidence.decode(value)
    except msgspec.DecodeError:
        return False
    return True


@settings(deadline=None, max_examples=300)
@given(ANY, st.integers(0, 500), st.binary(min_size=1, max_size=4), st.binary(max_size=60))
def test_no_bytes_make_decoding_raise_anything_else(
    message: evidence.Evidence, at: int, put: bytes, junk: bytes
) -> None:
    good = evidence.encode(message)
    at %= len(good)
    for value in (junk, good[:at], good[:at] + put + good[at + len(put) :]):
        assert decodes(value) in (True, False)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc0",
        b"\x81\xa4type\xa1x",
        b"\x91" * 100_000,
        b"\x82\xa4type\xa1t\xa4time" + b"\x91" * 100_000,
        b"\x82\xa4type\xa1t\xa4last" + b"\x91" * 100_000,
        b"\x83\xa4type\xa1b\xa5model\xa1\xff\xabbaseline_id\xa1x",
        evidence.encode(Tick(1))[:-1],
    ],
)
def test_damaged_evidence_is_refused(value: bytes) -> None:
    assert not decodes(value)


def test_fields_of_a_later_release_are_passed_over() -> None:
    later = msgspec.msgpack.encode({"type": "t", "time": 5, "zone": "UTC"})
    assert evidence.decode(later) == Tick(5)
    counts = ["", "", 0, "m@1", 0, 0, 1, 0, b"", {}, 0, None, "more"]
    partial = {"type": "p", "source": "s", "position": 1, "model": "m", "windows": [counts]}
    message = evidence.decode(msgspec.msgpack.encode(partial))
    assert isinstance(message, Partial)
    assert message.windows[0].rows == 1


def test_blocks_are_sent_packed_and_come_back_as_they_were() -> None:
    times = np.array([1_800_000_000_000, 1_800_000_000_700], "<i8").tobytes()
    later = np.array([5, 1_900_000_000_000, 1_900_000_000_000], "<i8").tobytes()
    values = np.array([-256, 256], "<i2").tobytes()
    blocks = [
        Blocks("", "a", "m@1", 0, times, values),
        Blocks("", "b", "m@1", 7, times, values),
        Blocks("", "c", "m@1", 0, later, np.array([0, 1, -32768], "<i2").tobytes()),
        Blocks("", "d", "m@1", 0, times, values),
    ]
    partial = Partial("s", 1, "m", [], blocks, 5)
    assert evidence.decode(evidence.encode(partial)) == partial


@pytest.mark.parametrize("sizes", [[2, -2], [3], [2, 2], [-2]])
def test_packed_blocks_that_do_not_add_up_are_refused(sizes: list[int]) -> None:
    bare = [Blocks("", "a", "m@1", 0, b"", b"")] * len(sizes)
    packed = evidence.Packed(sizes, encode_counts(np.array([5])), encode_counts(np.array([1, 2])))
    with pytest.raises(msgspec.DecodeError):
        evidence.decode(msgspec.msgpack.encode(Partial("s", 1, "m", [], bare, 5, packed=packed)))
