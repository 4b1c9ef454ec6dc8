"""Baselines come whole out of their chunks, in any order and however often."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import control
from schemas.codec import CorruptError
from schemas.control import CHUNK_BYTES, Assembly, Chunk, Effective, chunks, decode, encode


def pieces(baseline_id: str, data: bytes, size: int) -> list[Chunk]:
    """The chunks of some data, cut smaller than usual."""
    made = []
    for key, value in chunks(baseline_id, data):
        chunk = decode(value)
        assert isinstance(chunk, Chunk)
        assert key == f"{baseline_id}/{chunk.index}"
        made.append(chunk)
    packed = b"".join(chunk.data for chunk in made)
    cut = [packed[at : at + size] for at in range(0, len(packed), size)]
    return [Chunk(baseline_id, n, len(cut), made[0].checksum, piece) for n, piece in enumerate(cut)]


@settings(deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50), st.integers(1, 3), st.randoms(use_true_random=False))
def test_a_baseline_comes_whole_once_in_any_order_with_repeats(
    data: bytes, size: int, n_times: int, random: Random
) -> None:
    arriving = pieces("m@1", data, size) * n_times + pieces("m@2", data + b"x", size)
    random.shuffle(arriving)
    assembly = Assembly()
    made = [(chunk.baseline_id, whole) for chunk in arriving if (whole := assembly.add(chunk)) is not None]
    assert sorted(made) == [("m@1", data), ("m@2", data + b"x")]


def test_a_large_baseline_is_cut_below_the_limit_of_a_record() -> None:
    data = Random(4).randbytes(2 * CHUNK_BYTES + 10)
    records = chunks("m@1", data)
    assert [key for key, _ in records] == ["m@1/0", "m@1/1", "m@1/2"]
    assert max(len(value) for _, value in records) < 1_000_000
    assembly = Assembly()
    messages = [decode(value) for _, value in records]
    assert [assembly.add(one) for one in messages if isinstance(one, Chunk)] == [None, None, data]


def test_another_baseline_under_the_same_name_is_not_mixed_in() -> None:
    old, new = pieces("m@1", b"old" * 40, 9), pieces("m@1", b"new" * 50, 9)
    assembly = Assembly()
    assert [assembly.add(chunk) for chunk in old[:-1]] == [None] * (len(old) - 1)
    assert [assembly.add(chunk) for chunk in new][-1] == b"new" * 50
    assert assembly.add(old[-1]) == b"old" * 40


@pytest.mark.parametrize(("index", "n_chunks"), [(1, 1), (-1, 2), (5, 2), (0, 0), (0, -1)])
def test_a_chunk_with_an_impossible_number_is_corrupt(index: int, n_chunks: int) -> None:
    with pytest.raises(CorruptError, match="baseline m@1: chunk"):
        Assembly().add(Chunk("m@1", index, n_chunks, 0, b""))


def test_damaged_pieces_are_corrupt_and_good_ones_still_make_the_whole() -> None:
    good = pieces("m@1", b"data" * 30, 10)
    assembly = Assembly()
    for chunk in good[:-1]:
        assembly.add(chunk)
    with pytest.raises(CorruptError, match="m@1: checksum differs"):
        assembly.add(msgspec.structs.replace(good[-1], data=b"?"))
    assert [assembly.add(chunk) for chunk in good][-1] == b"data" * 30


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Chunk,
            st.sampled_from(["m@1", "m@2"]),
            st.integers(-1, 3),
            st.integers(-1, 3),
            st.integers(0, 1),
            st.binary(max_size=20),
        ),
        max_size=20,
    )
)
def test_chunks_of_anything_are_missing_more_or_corrupt(given_chunks: list[Chunk]) -> None:
    assembly = Assembly()
    for chunk in given_chunks:
        try:
            assert assembly.add(chunk) is None
        except CorruptError:
            continue


@given(st.text(st.characters(codec="utf-8")), st.integers(-(2**63), 2**63 - 1))
def test_control_records_come_back_as_they_were(name: str, time_ms: int) -> None:
    for message in (Effective(name, name, time_ms), Chunk(name, 0, 1, 7, name.encode())):
        assert control.decode(encode(message)) == message
