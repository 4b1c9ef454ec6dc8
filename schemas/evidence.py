"""Evidence: all that may change the judge's mind, in order, keyed by model.

A `Partial` says what one source partition has counted for one model below `position`; counts in
it are cumulative, so a later partial replaces an earlier one and nothing can be counted twice. Its
watermark covers the counts in the same record and in those before it.
"""

from __future__ import annotations

import msgspec

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
    int64 epoch milliseconds, `values` little-endian int16 in 1/4096 of a block's standard deviation.
    """

    slice: str
    feature: str
    baseline_id: str
    first: int
    times: bytes
    values: bytes


class Partial(msgspec.Struct, frozen=True, tag="p"):
    """What a source has counted for a model below `position` (an offset of the source).

    `watermark` is the largest event time seen, None in all but the last record of a split partial;
    `idle` says that the source has nothing more for this model for now, its watermark then
    advances with record time. `lost` says that records of the source were lost: rows of this model
    with event times from its first to its second number (both included) may be missing.
    """

    source: str
    position: int
    model: str
    windows: list[WindowCounts] = []
    blocks: list[Blocks] = []
    watermark: int | None = None
    idle: bool = False
    lost: tuple[int, int] | None = None


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


Evidence = Partial | Tick | Promote | Apply

encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Evidence)


def decode(value: bytes) -> Evidence:
    """Return the evidence in a record's value.

    Raises
    ------
    msgspec.DecodeError
        When it is none.
    """
    try:
        message: Evidence = _decoder.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"MessagePack data is malformed: {type(error).__name__}") from None
    return message
