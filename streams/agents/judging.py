"""All that is known of one model: its sources, its windows, its detectors, its episodes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import profile, windows
from detectors.episodes import Episodes
from detectors.rule import window_state
from schemas.alerts import Alert
from schemas.baselines import Baseline
from schemas.codec import decode_counts
from schemas.evidence import Partial, WindowCounts
from schemas.monitors import Monitor
from schemas.results import FeatureVerdict, Result
from streams.agents.detecting import Detectors, DetectorsState
from streams.agents.tally import LATE_PART
from streams.agents.vectors import parts
from streams.catalogue import Catalogue

VERSION_MIXED = "version_mixed"
NO_FEATURES: list[FeatureVerdict] = []


class Source(msgspec.Struct, array_like=True):
    """How far one source has come with this model."""

    position: int
    watermark: int
    idle: bool


class Part(msgspec.Struct, array_like=True):
    """What one source counted of one window: cumulative, valid below `position`."""

    position: int
    rows: int
    late_rows: int
    unknown_features: int
    counts: bytes
    unseen: dict[str, dict[str, int]]


class Window(msgspec.Struct, array_like=True):
    """A base window of one slice. `parts` is keyed by (source, version, part)."""

    end: int
    closes: int
    baseline_id: str
    monitor_version: int
    parts: dict[tuple[str, str, int], Part]
    judged: bool = False
    mixed: bool = False

    @property
    def rows(self) -> int:
        """Rows counted in the window."""
        return sum(part.rows for key, part in self.parts.items() if key[2] == 0)

    @property
    def n_counted(self) -> int:
        """Grows with every part that changes, also where a window's counts come in several."""
        return sum(part.rows + part.late_rows for part in self.parts.values())

    @property
    def late_rows(self) -> int:
        """Rows that came too late for it."""
        return sum(part.late_rows for part in self.parts.values())

    @property
    def version(self) -> str:
        """The model version most of the rows are of; of equals the last by name."""
        rows: dict[str, int] = {}
        for (_, version, index), part in self.parts.items():
            if index == 0:
                rows[version] = rows.get(version, 0) + part.rows
        return max(rows, key=lambda v: (rows[v], v), default="")


class State(msgspec.Struct, array_like=True):
    """Everything that must survive a crash."""

    sources: dict[str, Source] = {}
    windows: dict[tuple[str, int], Window] = {}
    emitted: dict[tuple[str, int, int], int] = {}
    detectors: DetectorsState = msgspec.field(default_factory=DetectorsState)
    episodes: bytes = b""
    monitor_version: int = 0
    joint: int = -1


_decode = msgspec.msgpack.Decoder(State).decode

Counted = tuple[NDArray[np.int64], dict[str, dict[str, int]]]


class ModelJudge:
    """Merges evidence of one model and decides. State is a function of the evidence alone."""

    def __init__(self, model: str, catalogue: Catalogue, run_id: str) -> None:
        self.model = model
        self.changes = 0
        self.n_late_after_final = 0
        self._catalogue, self._run_id = catalogue, run_id
        self._state = State()
        self._detectors = Detectors(catalogue)
        self._episodes = Episodes(catalogue.monitor(model))

    def add(self, partial: Partial) -> Iterator[Result | Alert]:
        """Take one partial; yield the results and alerts it leads to."""
        self.changes += 1
        source = self._state.sources.setdefault(partial.source, Source(-1, -1, False))
        changed = [key for counts in partial.windows if (key := self._merge(partial, counts)) is not None]
        for blocks in partial.blocks:
            self._detectors.add(partial.source, blocks)
        if partial.watermark is not None and partial.position >= source.position:
            source.position, source.idle = partial.position, partial.idle
            source.watermark = max(source.watermark, partial.watermark)
        yield from self._advance(changed)

    def finish(self) -> Iterator[Result | Alert]:
        """Judge every window that has rows: a replay has come to its end, nothing will follow."""
        end = max((window.closes for window in self._state.windows.values()), default=-1)
        for source in self._state.sources.values():
            source.watermark = max(source.watermark + 1, end)
        yield from self._advance([])

    def _merge(self, partial: Partial, counts: WindowCounts) -> tuple[str, int] | None:
        """Put a part in its window; return the window's key when that changed what is counted."""
        key = (counts.slice, counts.window_start)
        window = self._state.windows.get(key)
        if window is None:
            window = self._open(counts)
            if window is None:
                self.n_late_after_final += 1
                return None
            self._state.windows[key] = window
        if (window.baseline_id, window.monitor_version) != (counts.baseline_id, counts.monitor_version):
            window.mixed = True
        part_key = (partial.source, counts.version, counts.part)
        known = window.parts.get(part_key)
        if known is not None and known.position > partial.position:
            return None
        window.parts[part_key] = Part(
            partial.position, counts.rows, counts.late_rows, counts.unknown_features, counts.counts, counts.unseen
        )
        same = known is not None and (known.rows, known.late_rows) == (counts.rows, counts.late_rows)
        return None if same else key

    def _open(self, counts: WindowCounts) -> Window | None:
        """Make a window; None when it is older than what is kept."""
        baseline, monitor = self._catalogue.under(self.model, counts.baseline_id, counts.monitor_version)
        end = windows.window_end(counts.window_start, baseline.window_ms, monitor.timezone)
        keep = monitor.keep_windows * baseline.window_ms
        if end < self._state.joint - keep:
            return None
        closes = end + round(monitor.lateness_windows * baseline.window_ms)
        return Window(end, closes, counts.baseline_id, counts.monitor_version, {})

    def _under(self, window: Window) -> tuple[Baseline, Monitor]:
        return self._catalogue.under(self.model, window.baseline_id, window.monitor_version)

    def _joint(self) -> int:
        """The joint watermark: the slowest source that is not idle; of idle ones the fastest."""
        sources = self._state.sources.values()
        active = [source.watermark for source in sources if not source.idle]
        return min(active) if active else max(source.watermark for source in sources)

    def _advance(self, changed: list[tuple[str, int]]) -> Iterator[Result | Alert]:
        """Judge what the joint watermark has passed, judge again what has changed since."""
        state = self._state
        before, state.joint = state.joint, max(state.joint, self._joint())
        if state.joint > before:
            self._detectors.update(state.joint)
            due = [
                (window.end, key)
                for key, window in state.windows.items()
                if (not window.judged and window.end <= state.joint) or before < window.closes <= state.joint
            ]
        else:
            due = []
        for key in changed:
            window = state.windows[key]
            if window.end <= state.joint:
                due.append((window.end, key))
        again: dict[tuple[str, int], None] = {}
        for _, key in sorted(set(due)):
            again[key] = None
            if key in changed:
                again.update(dict.fromkeys(self._containing(key)))
        for key in sorted(again, key=lambda k: (state.windows[k].end, k)):
            yield from self._judge(key)
        if due:
            self._prune()

    def _containing(self, key: tuple[str, int]) -> list[tuple[str, int]]:
        """Return judged later windows at whose end a scale begins that includes this one."""
        window = self._state.windows[key]
        _, monitor = self._under(window)
        reach = max(monitor.scales) * (window.end - key[1])
        return [
            other
            for other, later in self._state.windows.items()
            if later.judged and other[0] == key[0] and key[1] < other[1] < key[1] + reach
        ]

    def _judge(self, key: tuple[str, int]) -> Iterator[Result | Alert]:
        window = self._state.windows[key]
        first = not window.judged
        window.judged = True
        baseline, monitor = self._under(window)
        made = [result for scale in monitor.scales if (result := self._result(key, window, scale)) is not None]
        yield from made
        if first:
            self._episodes.monitor = monitor
            yield from self._episodes.update(*made, may_open=not baseline.provisional)

    def _result(self, key: tuple[str, int], last: Window, scale: int) -> Result | None:
        """Score one scale whose window ends with this base window; None when there is nothing new."""
        slice_, last_start = key
        baseline, monitor = self._under(last)
        rule = self._catalogue.rule(baseline, monitor)
        span = windows.scale_windows(last_start, baseline.window_ms, scale, monitor.timezone)
        if span is None or (scale > 1 and scale not in rule.scales):
            return None
        start, end = span
        inside = [window for (s, w), window in self._state.windows.items() if s == slice_ and start <= w < end]
        rows, late_rows = sum(w.rows for w in inside), sum(w.late_rows for w in inside)
        sealed = all(w.closes <= self._state.joint for w in inside)
        revision = 2 * sum(window.n_counted for window in inside) + sealed
        if not rows or revision <= self._state.emitted.get((slice_, scale, start), -1):
            return None
        mixed = any(window.mixed or not self._merges(window, last) for window in inside)
        self._state.emitted[slice_, scale, start] = revision
        verdicts = NO_FEATURES
        if not mixed:
            counts, unseen = self._counted(inside)
            verdicts = _discreet(rule.score(counts, rows=rows, scale=scale, unseen=unseen), baseline, monitor)
        return Result(
            run_id=self._run_id,
            model=self.model,
            version=last.version,
            slice=slice_,
            scale=scale,
            window_start=start,
            window_end=end,
            revision=revision,
            sealed=sealed,
            rows=rows,
            late_rows=late_rows,
            baseline_id=last.baseline_id,
            monitor_version=last.monitor_version,
            state="insufficient" if mixed else window_state(verdicts),
            features=verdicts,
            warnings=self._detectors.warnings(slice_, start, end) if scale == 1 else [],
            flags=[VERSION_MIXED] if mixed else [],
            unknown_features=max((p.unknown_features for w in inside for p in w.parts.values()), default=0),
        )

    def _merges(self, window: Window, last: Window) -> bool:
        """Tell whether counts of two windows may be added: of the same baseline, in windows of the same kind."""
        if (window.baseline_id, window.monitor_version) == (last.baseline_id, last.monitor_version):
            return True
        (one, under_one), (other, under_other) = self._under(window), self._under(last)
        alike = (one.baseline_id, one.window_ms, under_one.timezone)
        return alike == (other.baseline_id, other.window_ms, under_other.timezone)

    def _counted(self, inside: list[Window]) -> Counted:
        baseline, _ = self._under(inside[0])
        layout = self._catalogue.layout(baseline)
        ranges = parts(layout)
        total = layout.zeros()
        unseen: dict[str, dict[str, int]] = {}
        for window in inside:
            for (_, _, index), part in window.parts.items():
                if index != LATE_PART:
                    total[ranges[index]] += decode_counts(part.counts)
                if part.unseen:
                    unseen = profile.merge_unseen(unseen, part.unseen)
        return total, unseen

    def _prune(self) -> None:
        """Drop windows that no scale can need any more."""
        state = self._state
        for key, window in list(state.windows.items()):
            _, monitor = self._under(window)
            size = window.end - key[1]
            if window.judged and window.end < state.joint - monitor.keep_windows * size:
                del state.windows[key]
        oldest = min((start for _, start in state.windows), default=0)
        size = max((w.end - k[1] for k, w in state.windows.items()), default=0)
        self._detectors.forget(oldest)
        for emitted in [e for e in state.emitted if e[2] < oldest - 125 * size]:
            del state.emitted[emitted]

    def effective_from(self, new_size_ms: int = 0) -> int:
        """Return from when a new baseline or monitor can hold: the first window boundary nobody has reached.

        A boundary of the windows now and of those to come, `new_size_ms` long (0: as now).
        """
        newest = max((source.watermark for source in self._state.sources.values()), default=-1)
        eras = self._catalogue.eras(self.model)
        if newest < 0 or not eras:
            return 0
        size, zone = max(eras[-1].baseline.window_ms, new_size_ms), eras[-1].monitor.timezone
        guard = windows.future_guard_ms(size)
        return windows.window_end(windows.window_start(newest + guard, size, zone), size, zone)

    def next_monitor_version(self) -> int:
        """Number a new monitor."""
        self.changes += 1
        newest = self._catalogue.monitor(self.model).monitor_version
        self._state.monitor_version = max(self._state.monitor_version, newest) + 1
        return self._state.monitor_version

    def encode(self) -> bytes:
        """Return the state."""
        self._state.detectors = self._detectors.snapshot()
        self._state.episodes = self._episodes.snapshot()
        return msgspec.msgpack.encode(self._state)

    def restore(self, data: bytes) -> None:
        """Take the state `encode` gave."""
        self._state = _decode(data)
        self._detectors = Detectors(self._catalogue, self._state.detectors)
        if self._state.episodes:
            self._episodes.restore(self._state.episodes)


def _discreet(verdicts: list[FeatureVerdict], baseline: Baseline, monitor: Monitor) -> list[FeatureVerdict]:
    """Leave out the values of features that became sensitive after the baseline was built."""
    hidden = {
        name
        for name, wanted in monitor.features.items()
        if wanted.sensitive and name in baseline.features and not baseline.features[name].sensitive
    }
    if not hidden:
        return verdicts
    return [
        msgspec.structs.replace(verdict, before="", after="", top_bins=[]) if verdict.feature in hidden else verdict
        for verdict in verdicts
    ]
