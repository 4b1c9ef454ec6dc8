"""Sequential detectors on block means. Their change points are warnings and alone never page."""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

import msgspec
from river import __version__ as river_version  # type: ignore[attr-defined]  # River does not list it
from river.drift import ADWIN

from detectors.blocks import SCALE
from detectors.errors import IncompatibleState
from schemas.baselines import FeatureBaseline

DELTA = 0.002
CLOCK = 2
MIN_CHANGE_SD = {"default": 0.125, "high": 0.0625, "strict": 0.125}
FORMAT = 1
MAX_STATE_BYTES = 65_536


class Change(NamedTuple):
    """A change point: event time in ms, and the means before and after in the feature's own units."""

    time: int
    before: float
    after: float


class _Snapshot(msgspec.Struct, array_like=True):
    format: int
    river: str
    fingerprint: int
    crc: int
    drift_detected: bool
    state: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Snapshot).decode


def _adwin() -> ADWIN:
    return ADWIN(delta=DELTA, clock=CLOCK)  # type: ignore[no-untyped-call]  # River has no types here


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
        self.drift_detected = False
        self.change: Change | None = None
        blocks = (feature.block_rows, feature.block_mean, feature.block_sd, feature.mean, feature.sd)
        self._fingerprint = crc32(repr((DELTA, CLOCK, min_change_sd, blocks)).encode())

    def update(self, time_ms: int, value: int) -> None:
        """Add one block mean as `BlockMeans.add` returns it."""
        adwin = self._adwin
        restarted = adwin.drift_detected
        width, total = (0, 0.0) if restarted else (adwin.width, adwin.total)
        adwin.update(value / SCALE)  # type: ignore[no-untyped-call]  # River has no types here
        self.drift_detected = adwin.drift_detected
        self.change = None
        if not self.drift_detected:
            return
        n_dropped = width + 1 - adwin.width
        if n_dropped <= 0 or adwin.width == 0:
            return
        before = self._row_sd((total + value / SCALE - adwin.total) / n_dropped)
        after = self._row_sd(adwin.estimation)
        if abs(after - before) >= self._min_change_sd:
            sd = self._feature.sd or 1.0
            self.change = Change(time_ms, self._feature.mean + sd * before, self._feature.mean + sd * after)

    def _row_sd(self, block: float) -> float:
        return self._feature.block_mean + self._feature.block_sd * block

    def snapshot(self) -> bytes:
        """Return the state, readable by `restore` under the same configuration and River version."""
        state: bytes = self._adwin._helper.__getstate__()
        return _encode(_Snapshot(FORMAT, river_version, self._fingerprint, crc32(state), self.drift_detected, state))

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
        if len(snapshot.state) > MAX_STATE_BYTES or crc32(snapshot.state) != snapshot.crc:
            raise IncompatibleState("the detector snapshot is damaged: its checksum differs")
        fresh = _adwin()
        try:
            fresh._helper.__setstate__(snapshot.state)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # River's Rust part raises PanicException, which is no Exception
            raise IncompatibleState(f"River refuses the detector snapshot: {error}") from error
        fresh._drift_detected = snapshot.drift_detected
        self._adwin, self.drift_detected, self.change = fresh, snapshot.drift_detected, None
