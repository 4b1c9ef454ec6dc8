"""Sequential detectors on block means. Their change points are warnings and alone never page."""

from __future__ import annotations

from itertools import compress, count, islice
from typing import NamedTuple
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray
from river import __version__ as river_version  # type: ignore[attr-defined]  # River does not list it
from river._river_rust.drift import AdaptiveWindowing  # what its ADWIN wraps; the rest of River takes 2 s to import

from detectors.blocks import SCALE
from detectors.errors import IncompatibleState
from schemas.baselines import FeatureBaseline

DELTA = 0.002
CLOCK = 2
MAX_BUCKETS, MIN_WINDOW_LENGTH, GRACE_PERIOD = 5, 5, 10
"""River's defaults."""
MIN_CHANGE_SD = {"default": 0.125, "high": 0.0625, "strict": 0.125}
FORMAT = 1
MAX_STATE_BYTES = 65_536
N_RECENT = 128
MIN_AFTER = 5


class Change(NamedTuple):
    """A change point: event time in ms, and the means before and after in the feature's own units.

    Of a sensitive feature the means are in standard deviations from the reference's mean.
    """

    time: int
    before: float
    after: float


class _Snapshot(msgspec.Struct, array_like=True):
    format: int
    river: str
    fingerprint: int
    crc: int
    body: bytes


class _Body(msgspec.Struct, array_like=True):
    drift_detected: bool
    adwin: bytes
    recent: bytes
    n_old: int
    sum_old: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Snapshot).decode
_decode_body = msgspec.msgpack.Decoder(_Body).decode


def _adwin() -> AdaptiveWindowing:
    return AdaptiveWindowing(DELTA, CLOCK, MAX_BUCKETS, MIN_WINDOW_LENGTH, GRACE_PERIOD)


class ChangeDetector:
    """River's ADWIN on the block means of one feature.

    Parameters
    ----------
    feature
        The reference: block length, mean and sd, and the feature's own mean and sd.
    min_change_sd
        Smallest change of the mean, in reference sd of rows, that is worth a warning.

    Attributes
    ----------
    drift_detected
        Whether ADWIN saw a change at the last update; equal to River's own flag.
    change
        The change of the last update when it is large enough for a warning, else None.
    """

    name = "adwin"

    def __init__(self, feature: FeatureBaseline, min_change_sd: float = MIN_CHANGE_SD["default"]) -> None:
        self._feature = feature
        self._min_change_sd = min_change_sd
        self._adwin = _adwin()
        self._recent: list[int] = []
        self._n_old = self._sum_old = 0
        self.drift_detected = False
        self.change: Change | None = None
        blocks = (feature.block_rows, feature.block_mean, feature.block_sd, feature.mean, feature.sd)
        self._fingerprint = crc32(repr((DELTA, CLOCK, min_change_sd, blocks)).encode())

    def update(self, time_ms: int, value: int) -> None:
        """Add one block mean as `BlockMeans.add` returns it."""
        if self.drift_detected:
            self._adwin, self._recent, self._n_old, self._sum_old = _adwin(), [], 0, 0
        self.drift_detected = self._adwin.update(value / SCALE)
        self._keep([value])
        self.change = self._changed(time_ms) if self.drift_detected else None

    def add(self, times: NDArray[np.int64], values: NDArray[np.int16]) -> list[Change]:
        """Add many block means in their order; return the changes that `update` would have shown one by one.

        Parameters
        ----------
        times, values
            Shape (blocks,): event times in ms, and means as `BlockMeans.add` returns them.
        """
        changes: list[Change] = []
        means: list[float] = (values / SCALE).tolist()
        begin = 0
        while begin < len(means):
            if self.drift_detected:
                self._adwin, self._recent, self._n_old, self._sum_old = _adwin(), [], 0, 0
            # River's own update, up to the first change, without Python code for each value
            flags = map(self._adwin.update, islice(means, begin, None))
            end = next(compress(count(begin + 1), flags), 0)
            self.drift_detected = end > 0
            self._keep(values[begin : end or len(means)].tolist())
            self.change = None
            begin = end or len(means)
            if end and (change := self._changed(int(times[end - 1]))) is not None:
                self.change = change if end == len(means) else None
                changes.append(change)
        return changes

    def _keep(self, values: list[int]) -> None:
        """Remember recent block means, those before as a sum only."""
        self._recent += values
        if len(self._recent) < 2 * N_RECENT:
            return
        n_old = (len(self._recent) // N_RECENT - 1) * N_RECENT
        self._n_old += n_old
        self._sum_old += sum(self._recent[:n_old])
        del self._recent[:n_old]

    def _changed(self, time_ms: int) -> Change | None:
        """Return the change ADWIN has just seen when it is large enough for a warning."""
        before, after = map(self._row_sd, self._means_around_split())
        if abs(after - before) < self._min_change_sd:
            return None
        mean, sd = (0.0, 1.0) if self._feature.sensitive else (self._feature.mean, self._feature.sd or 1.0)
        return Change(time_ms, mean + sd * before, mean + sd * after)

    def _means_around_split(self) -> tuple[float, float]:
        """Return the means before and after the split that separates the recent blocks best.

        River's own window keeps many blocks of before when it reports a change, so its mean is not
        that of after.
        """
        sums = self._sum_old + np.cumsum(self._recent, dtype=np.int64)
        n = self._n_old + np.arange(1, len(self._recent) + 1)
        n_after = n[-1] - n[:-1]
        before, after = sums[:-1] / n[:-1], (sums[-1] - sums[:-1]) / n_after
        gain = n[:-1] * n_after * (after - before) ** 2
        gain[n_after < MIN_AFTER] = -1.0
        best = int(gain.argmax())
        return float(before[best]) / SCALE, float(after[best]) / SCALE

    def _row_sd(self, block: float) -> float:
        return self._feature.block_mean + self._feature.block_sd * block

    def snapshot(self) -> bytes:
        """Return the state, readable by `restore` under the same configuration and River version."""
        adwin: bytes = self._adwin.__getstate__()
        recent = np.array(self._recent, "<i2").tobytes()
        body = _encode(_Body(self.drift_detected, adwin, recent, self._n_old, self._sum_old))
        return _encode(_Snapshot(FORMAT, river_version, self._fingerprint, crc32(body), body))

    def restore(self, data: bytes) -> None:
        """Go on from a `snapshot`; nothing changes when it is refused.

        Raises
        ------
        IncompatibleState
            When the bytes are damaged, or of another configuration or River version. Start afresh then.
        """
        try:
            snapshot = _decode(data)
        except msgspec.DecodeError as error:
            raise IncompatibleState(f"not a detector snapshot: {error}") from error
        if (snapshot.format, snapshot.river) != (FORMAT, river_version):
            raise IncompatibleState(
                f"the detector snapshot is of River {snapshot.river}, format {snapshot.format}; this is River"
                f" {river_version}, format {FORMAT}"
            )
        if snapshot.fingerprint != self._fingerprint:
            raise IncompatibleState("the detector snapshot is of another configuration or baseline")
        if len(snapshot.body) > MAX_STATE_BYTES or crc32(snapshot.body) != snapshot.crc:
            raise IncompatibleState("the detector snapshot is damaged: its checksum differs")
        body = _decode_body(snapshot.body)
        fresh = _adwin()
        try:
            fresh.__setstate__(body.adwin)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # River's Rust part raises PanicException, which is no Exception
            raise IncompatibleState(f"River refuses the detector snapshot: {error}") from error
        self._adwin, self.drift_detected, self.change = fresh, body.drift_detected, None
        self._recent = np.frombuffer(body.recent, "<i2").tolist()
        self._n_old, self._sum_old = body.n_old, body.sum_old
