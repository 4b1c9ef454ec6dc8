"""The sequential detectors of one model: fed with block means in the order of their stamps."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from detectors.errors import IncompatibleState
from detectors.online import ChangeDetector
from detectors.windows import MINUTE_MS
from schemas.evidence import Blocks
from schemas.results import Warning
from streams.catalogue import Catalogue

MAX_WARNINGS = 10_000

Series = tuple[str, str, str]
"""(slice, feature, baseline_id)"""


class Pending(msgspec.Struct, array_like=True):
    """Block means that wait for the joint watermark."""

    source: str
    first: int
    times: bytes
    values: bytes


class DetectorsState(msgspec.Struct, array_like=True):
    """What must survive a crash: `next_block` by source and series, what waits, the detectors, their warnings."""

    next_block: dict[str, dict[Series, int]] = {}
    pending: dict[Series, list[Pending]] = {}
    detectors: dict[Series, bytes] = {}
    warnings: dict[str, list[Warning]] = {}
    fed: int = -1


class Detectors:
    """One detector per (slice, feature) of a baseline; state is a function of the evidence alone."""

    def __init__(self, catalogue: Catalogue, state: DetectorsState | None = None) -> None:
        self._catalogue = catalogue
        self._state = state or DetectorsState()
        self._detectors: dict[Series, ChangeDetector] = {}
        self._was_reset = False
        for key, saved in self._state.detectors.items():
            if (detector := self._detector(key)) is not None:
                try:
                    detector.restore(saved)
                except IncompatibleState:  # of another release of River: it starts afresh, verdicts do not depend on it
                    self._reset(key)

    def _reset(self, key: Series) -> None:
        del self._detectors[key]
        self._was_reset = True

    def take_reset(self) -> bool:
        """Tell whether a detector had to start afresh since this was last asked."""
        was_reset, self._was_reset = self._was_reset, False
        return was_reset

    def add(self, source: str, blocks: Blocks) -> None:
        """Queue block means of a source, each once."""
        key = (blocks.slice, blocks.feature, blocks.baseline_id)
        n = len(blocks.values) // 2
        next_block = self._state.next_block.setdefault(source, {})
        skip = next_block.get(key, 0) - blocks.first
        if skip >= n:
            return
        skip = max(0, skip)
        next_block[key] = blocks.first + n
        waiting = self._state.pending.setdefault(key, [])
        waiting.append(Pending(source, blocks.first + skip, blocks.times[8 * skip :], blocks.values[2 * skip :]))

    def update(self, joint: int) -> None:
        """Feed the detectors with the blocks the joint watermark has passed, in event-time order, minute by minute.

        Whole minutes only: windows end there, and many small steps would cost more.
        """
        passed = joint // MINUTE_MS * MINUTE_MS
        if passed <= self._state.fed:
            return
        self._state.fed = passed
        for key, waiting in list(self._state.pending.items()):
            self._feed(key, waiting, passed)
            if not waiting:
                del self._state.pending[key]

    def _feed(self, key: Series, waiting: list[Pending], passed: int) -> None:
        """Feed one detector: what is ready is the beginning of what waits, as a source's stamps never decrease."""
        ready: list[tuple[str, Any, Any]] = []
        rest: list[Pending] = []
        for one in waiting:
            times = np.frombuffer(one.times, "<i8")
            n = int(times.searchsorted(passed))
            if n:
                ready.append((one.source, times[:n], np.frombuffer(one.values, "<i2")[:n]))
            if n < len(times):
                rest.append(Pending(one.source, one.first + n, one.times[8 * n :], one.values[2 * n :]) if n else one)
        waiting[:] = rest
        detector = self._detector(key)
        if not ready or detector is None:
            return
        ready.sort(key=itemgetter(0))  # of equal stamps first the source first by name, then its earlier block
        stamps = np.concatenate([times for _, times, _ in ready])
        values = np.concatenate([values for _, _, values in ready])
        order = stamps.argsort(kind="stable")
        slice_, feature, _ = key
        try:
            changes = detector.add(stamps[order], values[order])
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # River's Rust part raises PanicException, which is no Exception
            if isinstance(error, Exception):
                raise
            self._reset(key)
            return
        warnings = self._state.warnings.setdefault(slice_, [])
        warnings += [Warning(feature, detector.name, one.time, one.before, one.after) for one in changes]
        del warnings[:-MAX_WARNINGS]

    def _detector(self, key: Series) -> ChangeDetector | None:
        detector = self._detectors.get(key)
        if detector is None:
            _, feature, baseline_id = key
            baseline = self._catalogue.baseline(baseline_id)
            if baseline is None or feature not in baseline.features:
                return None
            detector = self._detectors[key] = ChangeDetector(baseline.features[feature])
        return detector

    def warnings(self, slice_: str, start: int, end: int) -> list[Warning]:
        """Return the change points in a window; it is judged after all blocks stamped before its end were fed."""
        return [warning for warning in self._state.warnings.get(slice_, ()) if start <= warning.time < end]

    def forget(self, before: int) -> None:
        """Drop the warnings of windows nobody keeps any more."""
        for slice_, warnings in self._state.warnings.items():
            self._state.warnings[slice_] = [warning for warning in warnings if warning.time >= before]

    def forget_source(self, source: str) -> None:
        """Drop what is known of a source that is gone."""
        self._state.next_block.pop(source, None)

    def forget_baseline(self, baseline_id: str) -> None:
        """Drop the detectors of a baseline under which no window is kept any more."""
        everything: list[dict[Series, Any]] = [self._detectors, self._state.pending, *self._state.next_block.values()]
        for known in everything:
            for key in [key for key in known if key[2] == baseline_id]:
                del known[key]

    def snapshot(self) -> DetectorsState:
        """Return the state."""
        self._state.detectors = {key: detector.snapshot() for key, detector in self._detectors.items()}
        return self._state
