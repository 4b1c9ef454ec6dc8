"""Evidence: all that may change the judge's mind, in order, keyed by model.

A `Partial` says what one source partition has counted for one model below `position`; counts in
it are cumulative, so a later partial replaces an earlier one and nothing can be counted twice. Its
watermark covers the counts in the same record and in those before it.
"""

from __future__ import annotations

import msgspec
import numpy as np

from schemas.codec import CorruptError, decode_counts, encode_counts

MAX_BYTES = 256_000


class WindowCounts(msgspec.Struct, frozen=True, array_like=True):
    """The integers of one window of one (version, slice), or one part of them.

    `counts` is an encoded vector of the cells of part `part` of the baseline's layout (empty in the
    record that only reports late rows); `rows` and `late_rows` stand in part 0. `first_ms` is the
    smallest event time among the counted rows, in part 0 (None elsewhere, and from older releases):
    the smallest over all windows and sources of a version dates its deployment.
    """

    version: str
    slice: str
    window_start: int
    baseline_id: str
    monitor_version: int
    part: int
    rows: int
    late_rows: int
    counts: bytes
    unseen: dict[str, dict[str, int]] = {}
    unknown_features: int = 0
    first_ms: int | None = None


class Blocks(msgspec.Struct, frozen=True, array_like=True):
    """Block means of one feature for the sequential detectors.

    `first` numbers the first of them within (source, model, slice, feature); `times` are encoded
    int64 epoch milliseconds, `values` little-endian int16 in 1/64 of a block's standard deviation.
    """

    slice: str
    feature: str
    baseline_id: str
    first: int
    times: bytes
    values: bytes


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """The times and values of all blocks of a partial, as they are sent.

    `sizes` are their numbers, negative where the times are those of the blocks before; `times` are the
    differences of those that remain, `values` the values of all.
    """

    sizes: list[int]
    times: bytes
    values: bytes


class Partial(msgspec.Struct, frozen=True, tag="p"):
    """What a source has counted for a model below `position` (an offset of the source).

    `watermark` is the largest event time seen, None in all but the last record of a split partial;
    `idle` says that the source has nothing more for this model for now, its watermark then
    advances with record time. `lost` says that records of the source were lost: rows of this model
    with event times from its first to its second number (both included) may be missing. `packed`
    stands only in what is sent.
    """

    source: str
    position: int
    model: str
    windows: list[WindowCounts] = []
    blocks: list[Blocks] = []
    watermark: int | None = None
    idle: bool = False
    lost: tuple[int, int] | None = None
    packed: Packed | None = None


class Started(msgspec.Struct, frozen=True, tag="s"):
    """Says to every partition of the evidence that a source has told which models its first records are of.

    Before all sources have, the judge would not know whom to wait for.
    """

    source: str


class Tick(msgspec.Struct, frozen=True, tag="t"):
    """The judge's clock, written as a record."""

    time: int


class Promote(msgspec.Struct, frozen=True, tag="b"):
    """Asks that a stored baseline of the model become the one it is judged against."""

    model: str
    baseline_id: str
    by: str = ""


class Apply(msgspec.Struct, frozen=True, tag="m"):
    """Asks that a monitor (JSON of `schemas.monitors.Monitor`) become effective."""

    model: str
    monitor: bytes
    by: str = ""


Evidence = Partial | Started | Tick | Promote | Apply

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Evidence)


def encode(message: Evidence) -> bytes:
    """Return the bytes of a record's value."""
    return _encode(_packed(message) if isinstance(message, Partial) and message.blocks else message)


def decode(value: bytes) -> Evidence:
    """Return the evidence in a record's value.

    Raises
    ------
    msgspec.DecodeError
        When it is none.
    """
    try:
        message: Evidence = _decoder.decode(value)
        if isinstance(message, Partial) and message.packed is not None:
            message = _unpacked(message, message.packed)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"MessagePack data is malformed: {type(error).__name__}") from None
    except (CorruptError, ValueError) as error:
        raise msgspec.DecodeError(f"blocks: {error}") from None
    return message


def _packed(partial: Partial) -> Partial:
    sizes: list[int] = []
    distinct: list[bytes] = []
    before = b""
    for blocks in partial.blocks:
        n = len(blocks.values) // 2
        same = blocks.times == before
        sizes.append(-n if same else n)
        if not same:
            distinct.append(blocks.times)
        before = blocks.times
    times = np.diff(np.frombuffer(b"".join(distinct), "<i8"), prepend=0)
    values = np.frombuffer(b"".join(blocks.values for blocks in partial.blocks), "<i2")
    bare = [msgspec.structs.replace(blocks, times=b"", values=b"") for blocks in partial.blocks]
    packed = Packed(sizes, encode_counts(times), encode_counts(values.astype(np.int64)))
    return msgspec.structs.replace(partial, blocks=bare, packed=packed)


def _unpacked(partial: Partial, packed: Packed) -> Partial:
    times = decode_counts(packed.times).cumsum().astype("<i8").tobytes()
    values = decode_counts(packed.values).astype("<i2").tobytes()
    blocks: list[Blocks] = []
    at_time = at_value = 0
    mine = b""
    for one, size in zip(partial.blocks, packed.sizes, strict=True):
        n = abs(size)
        if size >= 0:
            mine, at_time = times[at_time : at_time + 8 * n], at_time + 8 * n
        theirs, at_value = values[at_value : at_value + 2 * n], at_value + 2 * n
        if len(mine) != 8 * n or len(theirs) != 2 * n:
            raise CorruptError("times or values are missing")
        blocks.append(msgspec.structs.replace(one, times=mine, values=theirs))
    return msgspec.structs.replace(partial, blocks=blocks, packed=None)
