"""All that is known of one model: its sources, its windows, its detectors, its episodes.

A window is judged as soon as every source that is not idle has passed its end, at every scale that
ends with it. Counts that come later are judged at the next of a few looks while it is still open, the
last when it closes; those that come still later, from sources that were idle, at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from detectors import windows
from detectors.episodes import Episodes
from detectors.rule import window_state
from schemas.alerts import Alert
from schemas.baselines import Baseline
from schemas.evidence import Partial, WindowCounts
from schemas.monitors import Monitor
from schemas.results import FeatureVerdict, Result
from streams.agents.decisions import Decisions
from streams.agents.deployments import Deployments
from streams.agents.detecting import Detectors, DetectorsState
from streams.agents.merging import Pair, Window
from streams.agents.scoring import Scores
from streams.agents.sources import Losses, Source, joint_watermark
from streams.agents.windows import Key, Windows
from streams.catalogue import Catalogue

FORMAT = 1
LOOKS = (1 / 16, 1 / 4)
"""Shares of the lateness after which a window that has changed since its first judgement is judged again."""
MAX_REFUSED = 10_000
VERSION_MIXED, STATE_LOST = "version_mixed", "state_lost"
LATE_AFTER_FINAL, DETECTORS_RESET = "late_after_final", "detectors_reset"
NO_FEATURES: list[FeatureVerdict] = []


class State(msgspec.Struct, array_like=True):
    """Everything that must survive a crash."""

    format: int = FORMAT
    sources: dict[str, Source] = {}
    windows: dict[Key, Window] = {}
    losses: Losses = msgspec.field(default_factory=Losses)
    deployments: Deployments = msgspec.field(default_factory=Deployments)
    detectors: DetectorsState = msgspec.field(default_factory=DetectorsState)
    episodes: bytes = b""
    refused: set[int] = set()
    decisions: Decisions = msgspec.field(default_factory=Decisions)
    joint: int = -1


_decode = msgspec.msgpack.Decoder(State).decode


class ModelJudge:
    """Merges evidence of one model and decides. State is a function of the evidence alone.

    Parameters
    ----------
    after_loss
        Evidence of models nobody remembers was lost before.
    """

    def __init__(self, model: str, catalogue: Catalogue, run_id: str, *, after_loss: bool = False) -> None:
        self.model = model
        self.changes = 0
        self.n_late_after_final = 0
        self._catalogue, self._run_id = catalogue, run_id
        self._state = State()
        self._state.losses.since_start = after_loss
        self._windows = Windows(self._state.windows)
        self._scores = Scores(model, catalogue)
        self._detectors = Detectors(catalogue)
        self._episodes = Episodes(catalogue.monitor(model))

    def lost(self) -> None:
        """Note that evidence was lost before the next record."""
        self.changes += 1
        self._state.losses.lose(self._state.sources, self._state.joint)

    def add(self, partial: Partial, *, wait: bool = False) -> Iterator[Result | Alert]:
        """Take one partial; yield the results and alerts it leads to, none while others are to `wait` for.

        To be pulled to its end before anything else is asked of the judge.
        """
        self.changes += 1
        state = self._state
        new = partial.source not in state.sources
        source = state.sources.setdefault(partial.source, Source())
        spans = state.losses.update(partial, source, state.sources, new=new)
        changed = [key for counts in partial.windows if (key := self._merge(partial, source, counts)) is not None]
        for blocks in partial.blocks:
            self._detectors.add(partial.source, blocks)
        source.update(partial)
        for span in spans:
            for slice_ in self._windows.slices():
                for key, window in list(self._windows.around(slice_, span.from_ms, span.to_ms + 1)):
                    if span.touches(key[1], window.end, window.closes):
                        self._retell(key)
        if not wait:
            yield from self._advance(changed)

    def advance(self) -> Iterator[Result | Alert]:
        """Judge what is due, now that nothing is waited for; to be pulled to its end as well."""
        self.changes += 1
        if self._state.sources:
            yield from self._advance([])

    def finish(self) -> Iterator[Result | Alert]:
        """Judge every window that has rows: a replay has come to its end, nothing will follow."""
        end = max((window.closes for window in self._state.windows.values()), default=-1)
        for source in self._state.sources.values():
            source.watermark = max(source.watermark + 1, end)
        yield from self._advance([])

    def _merge(self, partial: Partial, source: Source, counts: WindowCounts) -> Key | None:
        """Put a part in its window; return the window's key when that changed what is counted."""
        key = (counts.slice, counts.window_start)
        kept = self._windows.get(key)
        window = kept or self._open(key, counts)
        if not window.is_new(partial.source, source, partial.position, counts):
            return None
        if window.accepts < self._state.joint:
            self._refuse(counts.window_start)
            return None
        window.merge(partial.source, partial.position, counts)
        pair = (counts.baseline_id, counts.monitor_version)
        if pair not in window.pairs:
            self._mix(key, window, pair)
        if kept is None:
            self._windows.add(key, window)
            self._overlap(key, window)
        for time in self._state.deployments.update(counts.version, counts.first_ms):
            for other in list(self._windows.at(time)):
                self._retell(other)
        return key

    def _refuse(self, start: int) -> None:
        """Count a window whose counts come later than every scale that includes it could be judged again."""
        refused = self._state.refused
        if start not in refused and len(refused) < MAX_REFUSED:
            refused.add(start)
            self.n_late_after_final += 1

    def _open(self, key: Key, counts: WindowCounts) -> Window:
        """Make a window. It is kept until every scale that a late part of it changes has been judged again."""
        pair = (counts.baseline_id, counts.monitor_version)
        end, closes, accepts, forget = self._times(key[1], pair)
        return Window(end=end, closes=closes, accepts=accepts, forget=forget, due=end, pairs=[pair])

    def _times(self, start: int, pair: Pair) -> tuple[int, int, int, int]:
        """Return when a window ends, closes, is no longer corrected, and is forgotten."""
        baseline, monitor = self._under(pair)
        size, longest = baseline.window_ms, max(monitor.scales)
        end = windows.window_end(start, size, monitor.timezone)
        accepts = end + round(max(monitor.keep_windows, 2 * monitor.lateness_windows) * size)
        return end, end + round(monitor.lateness_windows * size), accepts, accepts + longest * size

    def _mix(self, key: Key, window: Window, pair: Pair) -> None:
        """Note that rows of one window were counted under several versions; the newest names the result."""
        window.pairs.append(pair)
        window.pairs.sort(key=lambda each: (self._number(each[0]), each))
        end, closes, accepts, forget = self._times(key[1], pair)
        window.end, window.closes = max(window.end, end), max(window.closes, closes)
        window.accepts, window.forget = max(window.accepts, accepts), max(window.forget, forget)
        self._windows.resize(key)
        self._overlap(key, window)

    def _number(self, baseline_id: str) -> int:
        baseline = self._catalogue.baseline(baseline_id)
        return -1 if baseline is None else baseline.number

    def _overlap(self, key: Key, window: Window) -> None:
        """Note which windows share event time with this one: they are of another version, and all of them mixed."""
        for other, overlapped in list(self._windows.around(key[0], key[1], window.end)):
            if other != key:
                window.overlaps = overlapped.overlaps = True
                self._retell(other)

    def _under(self, pair: Pair) -> tuple[Baseline, Monitor]:
        return self._catalogue.under(self.model, *pair)

    def _retell(self, key: Key) -> None:
        """Have results that include a window published again: what they say beside the counts has changed."""
        for other, window in [(key, self._windows[key]), *self._later(key)]:
            if window.retell(base=other == key):
                self._look_now(other)

    def _look_now(self, key: Key) -> None:
        self._windows.schedule(key, min(self._windows[key].due, self._state.joint))

    def _later(self, key: Key) -> Iterator[tuple[Key, Window]]:
        """Yield judged later windows at whose end a scale begins that may include this one."""
        window = self._windows[key]
        _, monitor = self._under(window.pair)
        reach = max(monitor.scales) * (window.end - key[1])
        for other, later in self._windows.between(key[0], key[1] + 1, key[1] + reach):
            if later.judged:
                yield other, later

    def _advance(self, changed: Iterable[Key]) -> Iterator[Result | Alert]:
        """Judge what the joint watermark has passed, and again what has changed since."""
        state = self._state
        before, state.joint = state.joint, max(state.joint, joint_watermark(state.sources))
        if state.joint > before:
            self._detectors.update(state.joint)
        for key in dict.fromkeys(changed):
            self._plan(key)
        due = self._windows.take_due(state.joint)
        for key in sorted(due, key=lambda k: (state.windows[k].end, k)):
            window = state.windows[key]
            if not (window.judged and window.due == window.forget):
                yield from self._judge(key, window)
            self._windows.schedule(key, window.forget if state.joint >= window.closes else window.closes)
        self._forget([key for key in due if state.joint >= state.windows[key].forget])

    def _plan(self, key: Key) -> None:
        """Choose when a window that changed after its first judgement is judged again, with all that contain it."""
        window, joint = self._state.windows[key], self._state.joint
        if window.end > joint:
            return
        for other, later in [(key, window), *self._later(key)]:
            if later.closes <= joint:
                self._windows.schedule(other, joint)
        if window.judged and window.closes > joint:
            lateness = window.closes - window.end
            looks = (window.end + round(share * lateness) for share in LOOKS)
            self._windows.schedule(key, min([*(look for look in looks if look > joint), window.due, window.closes]))

    def _judge(self, key: Key, window: Window) -> Iterator[Result | Alert]:
        """Judge every scale that ends with a window."""
        first = not window.judged
        window.judged = True
        if first:
            window.refused, self._state.refused = len(self._state.refused), set()
            window.notes = [DETECTORS_RESET] if self._detectors.take_reset() else []
        window.settle(self._state.sources)
        baseline, monitor = self._under(window.pair)
        made = []
        for scale in monitor.scales:
            result = self._result(key, window, scale)
            if result is not None:
                made.append(result)
                yield result
        if first:
            self._episodes.monitor = monitor
            for alert in self._episodes.update(*made, may_open=not baseline.provisional):
                yield msgspec.structs.replace(alert, deployments=self._recent(alert, key, window))

    def _recent(self, alert: Alert, key: Key, window: Window) -> list[tuple[str, int]]:
        """Return the deployments that may have to do with an alert: since the longest window before it began."""
        _, monitor = self._under(window.pair)
        since = min([alert.opened, *(feature.since for feature in alert.features)])
        reach = max(monitor.scales) * (window.end - key[1])
        return self._state.deployments.between(min(since, alert.opened - reach), alert.time)

    def _result(self, key: Key, last: Window, scale: int) -> Result | None:
        """Score one scale whose window ends with this base window; None when there is nothing new."""
        slice_, last_start = key
        baseline, monitor = self._under(last.pair)
        rule = self._catalogue.rule(baseline, monitor)
        span = windows.scale_windows(last_start, baseline.window_ms, scale, monitor.timezone)
        if span is None or (scale > 1 and scale not in rule.scales):
            return None
        start, end = span
        inside = [window for _, window in self._windows.between(slice_, start, end)]
        rows = sum(window.rows for window in inside)
        sealed = all(window.closes <= self._state.joint for window in inside)
        revision = 2 * sum(window.n_counted for window in inside) + sealed
        if not rows or revision <= last.emitted.get(scale, -1):
            return None
        verdicts = self._scores.score(key, scale, last, inside, self._state.sources, sealed=sealed)
        last.emitted[scale] = revision
        flags = [VERSION_MIXED] if verdicts is None else []
        if self._state.losses.touch(start, end, last.closes):
            flags.append(STATE_LOST)
        base = scale == 1
        if base:
            flags += [LATE_AFTER_FINAL] * (last.refused > 0) + last.notes
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
            late_rows=sum(window.late_rows for window in inside),
            baseline_id=last.pair[0],
            monitor_version=last.pair[1],
            state="insufficient" if verdicts is None else window_state(verdicts),
            features=verdicts or NO_FEATURES,
            warnings=self._detectors.warnings(slice_, start, end) if base else [],
            flags=flags,
            unknown_features=max((window.unknown_features for window in inside), default=0),
            late_after_final=last.refused if base else 0,
            deployments=self._state.deployments.between(start, end),
        )

    def _forget(self, keys: list[Key]) -> None:
        """Drop windows that no scale can need any more, and what was known for their sake alone."""
        if not keys:
            return
        state = self._state
        gone = {pair[0] for key in keys for pair in state.windows[key].pairs}
        for key in keys:
            self._windows.drop(key)
            self._scores.forget(key)
        oldest, newest = self._windows.oldest(), self._windows.newest()
        if oldest is None or newest is None:
            return
        self._detectors.forget(oldest)
        state.losses.forget(oldest)
        state.deployments.forget(oldest)
        for name in [name for name, source in state.sources.items() if source.idle and source.watermark < oldest]:
            del state.sources[name]
            self._detectors.forget_source(name)
        for baseline_id in gone - self._windows.pairs():
            self._detectors.forget_baseline(baseline_id)

    def decide_monitor(self, new_size_ms: int) -> tuple[int, int]:
        """Return a new monitor's version, and from when it holds."""
        self.changes += 1
        version = self._state.decisions.next_monitor(self.model, self._catalogue)
        return version, self._date(new_size_ms)

    def decide_baseline(self, new_size_ms: int) -> tuple[int, int]:
        """Return the number of a baseline's promotion, and from when it holds."""
        self.changes += 1
        sequence = self._state.decisions.next_promotion(self.model, self._catalogue)
        return sequence, self._date(new_size_ms)

    def _date(self, new_size_ms: int) -> int:
        newest = max((source.watermark for source in self._state.sources.values()), default=-1)
        return self._state.decisions.date(self.model, self._catalogue, newest, new_size_ms)

    def encode(self) -> bytes:
        """Return the state."""
        self._state.detectors = self._detectors.snapshot()
        self._state.episodes = self._episodes.snapshot()
        return msgspec.msgpack.encode(self._state)

    def restore(self, data: bytes) -> None:
        """Take the state `encode` gave."""
        self._state = _decode(data)
        self._windows = Windows(self._state.windows)
        self._detectors = Detectors(self._catalogue, self._state.detectors)
        if self._state.episodes:
            self._episodes.restore(self._state.episodes)
