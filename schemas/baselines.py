"""The frozen summary of a model's reference rows: what a window is compared with."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

FORMAT = 1

Kind = Literal["numeric", "categorical"]


class IncompatibleBaseline(ValueError):
    """The bytes are not a baseline, or one written by a newer release."""


class Array(msgspec.Struct, frozen=True):
    """A one-dimensional array as its little-endian bytes, so that it round-trips bit for bit."""

    dtype: str
    data: bytes

    @classmethod
    def of(cls, values: Any, dtype: str) -> Array:
        """Pack `values` as `dtype` (a little-endian numpy type such as ``<f8``)."""
        return cls(dtype, np.ascontiguousarray(values, dtype).tobytes())

    def numpy(self) -> NDArray[Any]:
        """Return the values, read-only."""
        return np.frombuffer(self.data, self.dtype)


class Moments(msgspec.Struct, frozen=True):
    """The null distribution of a binned statistic, from consecutive batches of the reference.

    `l1`, `l2`, `l3` are the sums of the first three powers of the eigenvalues of the bins'
    covariance (`bins - 1` each when rows are independent). `coarse` is the inflation of windows of
    ``batch_rows * 2**i`` rows over batches; `day_excess` what days add to the variance (0: none).
    """

    bins: int
    l1: float
    l2: float
    l3: float
    coarse: list[float] = msgspec.field(default_factory=lambda: [1.0])
    day_excess: float = 0.0


class Spread(msgspec.Struct, frozen=True):
    """The variance per row of one quantity; `coarse` and `day_excess` as in `Moments`."""

    variance: float
    coarse: list[float] = msgspec.field(default_factory=lambda: [1.0])
    day_excess: float = 0.0


class Pool(msgspec.Struct, frozen=True):
    """Categorical bins for windows of at least ``2**log2_rows`` rows: levels from `n_levels` on share one bin."""

    log2_rows: int
    n_levels: int
    moments: Moments


class Calibration(msgspec.Struct, frozen=True):
    """How much the statistics of one feature vary in windows without drift.

    Numeric features have one entry in `pools` (their bins), `location` and `scale`; categorical
    ones have a pool for each power of two of the window's rows. `ks.variance` is the largest design
    effect of the empirical distribution (`d_max`). `cell_effects` holds one design effect per cell
    or level. `days` is 0 when the reference shows no usable days.
    """

    batch_rows: int
    pools: list[Pool]
    ks: Spread
    cell_effects: Array
    location: Spread | None = None
    scale: Spread | None = None
    days: int = 0
    day_rows: float = 0.0


class ShareBaseline(msgspec.Struct, frozen=True):
    """A two-level series (missing, type errors): reference count and design effects."""

    n: int
    effect: float = 1.0
    coarse: list[float] = msgspec.field(default_factory=lambda: [1.0])
    batch_rows: int = 1


class FeatureBaseline(msgspec.Struct, frozen=True):
    """The reference of one feature.

    Attributes
    ----------
    rows
        Reference rows with a usable value.
    knots
        Numeric: increasing values where the window is counted on both sides.
    edges
        Numeric: positions in `knots` at which the bins of PSI end (bin: ``edge[i-1] < x <= edge[i]``).
    levels
        Categorical: known labels, most frequent first; hashed when `sensitive`.
    sensitive
        Values never appear in words: labels are hashed, numeric bins told by rank. A numeric feature's
        knots are still values of the reference, without which nothing can be counted.
    counts
        Numeric: rows per cell ``gap 0, knot 0, gap 1, knot 1, ..., above``. Categorical: rows per level.
    n_other, n_singletons
        Categorical: reference rows in levels that are not kept, and levels seen once.
    mean, sd
        Of the finite reference values; `sd` 0 counts as 1 when values are standardised.
    block_rows, block_mean, block_sd
        Blocks of the sequential detector, in standardised units; `block_off` says why there is none.
    """

    kind: Kind
    rows: int
    counts: Array
    missing: ShareBaseline
    type_errors: ShareBaseline
    knots: Array = Array("<f8", b"")
    edges: Array = Array("<i4", b"")
    levels: list[str] = []
    sensitive: bool = False
    from_numbers: bool = False
    n_other: int = 0
    n_singletons: int = 0
    mean: float = 0.0
    sd: float = 0.0
    calibration: Calibration | None = None
    block_rows: int = 16
    block_mean: float = 0.0
    block_sd: float = 0.0
    block_off: str = ""
    lag1: float = 0.0
    before: str = ""
    note: str = ""
    bins: list[str] = []
    bin_counts: list[int] = []


class Baseline(msgspec.Struct, frozen=True):
    """The reference of one model. Identity is `baseline_id` (``model@number``).

    `effective_from` is an epoch time in ms on a window boundary (0: from the beginning). `scales`
    are those for which the reference spans at least eight windows. `n_series` is the number of
    judged series among which the alarm budget is shared. `skipped` says in plain words why columns
    of the reference are not judged.
    """

    baseline_id: str
    model: str
    number: int
    created_ms: int
    source: str
    rows: int
    first_ms: int
    last_ms: int
    window_ms: int
    window_reason: str
    scales: list[int]
    n_series: int
    features: dict[str, FeatureBaseline]
    skipped: dict[str, str] = {}
    effective_from: int = 0
    provisional: bool = False
    timezone: str = "UTC"
    format: int = FORMAT


class _Head(msgspec.Struct):
    format: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Baseline)
_head_decoder = msgspec.msgpack.Decoder(_Head)


def encode(baseline: Baseline) -> bytes:
    """Return the baseline as MessagePack."""
    return _encoder.encode(baseline)


def decode(data: bytes) -> Baseline:
    """Return the baseline in `data`.

    Raises
    ------
    IncompatibleBaseline
        When `data` is not a baseline, or its format is newer than this release reads.
    """
    try:
        head = _head_decoder.decode(data)
        if head.format > FORMAT:
            raise IncompatibleBaseline(
                f"baseline format {head.format} is newer than this release reads ({FORMAT}); upgrade driftgauge"
            )
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise IncompatibleBaseline(f"not a baseline: {error}") from error
