"""Which baseline and monitor are effective for a model, and from which event time on."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from detectors.layout import Layout
from detectors.windows import SIZES_MS, Times, window_end, window_start
from schemas import baselines, control, monitors, topics
from schemas.baselines import Baseline, IncompatibleBaseline
from schemas.codec import CorruptError
from schemas.monitors import Monitor
from schemas.records import Record
from schemas.sources import Mapping, Source

if TYPE_CHECKING:
    from detectors.rule import Rule

log = logging.getLogger(__name__)

UNREADABLE = (msgspec.DecodeError, CorruptError, IncompatibleBaseline, UnicodeDecodeError, RecursionError)


class Era(NamedTuple):
    """A span of event time of one model with one baseline and one monitor: [start_ms, end_ms)."""

    start_ms: int
    end_ms: int
    baseline: Baseline
    monitor: Monitor


FOREVER = 1 << 62
MAX_RULE_CELLS = 10_000_000
"""Cells of all decision rules that are kept, about 50 bytes each; others are made again when a window is judged."""


class Catalogue:
    """The control topics as one sees them: filled by a `Follower`, asked by stages.

    Baselines are immutable and many; those effective make the eras of a model.
    """

    def __init__(self) -> None:
        self._assembly = control.Assembly()
        self._baselines: dict[str, Baseline] = {}
        self._effective: dict[str, dict[str, int]] = defaultdict(dict)
        self._monitors: dict[str, dict[int, Monitor]] = defaultdict(dict)
        self._eras: dict[str, list[Era]] = {}
        self._layouts: dict[str, Layout] = {}
        self._rules: dict[tuple[str, int], Rule] = {}
        self._unread: set[str] = set()
        self._sensitive: set[str] = set()
        self._mappings: dict[str, tuple[Mapping, ...]] = {}

    def update(self, record: Record) -> None:
        """Take one record of a control topic; one that cannot be read is logged and skipped."""
        if record.value is None:
            return
        try:
            self._take(record.topic, record.value)
        except UNREADABLE as error:
            where = f"{record.topic}/{record.partition}@{record.offset}"
            log.error("%s (key %r) is skipped: %s: %s", where, record.key, type(error).__name__, error)
            if record.topic == topics.MONITORS.name:
                self._unread.add(_key(record).rpartition("/")[0])

    def _take(self, topic: str, value: bytes) -> None:
        if topic == topics.MONITORS.name:
            self.add_monitor(monitors.decode(value))
            return
        message = control.decode(value)
        if isinstance(message, control.Effective):
            self.add_effective(message)
        elif (whole := self._assembly.add(message)) is not None:
            self.add_baseline(baselines.decode(whole))

    def add_baseline(self, baseline: Baseline) -> None:
        """Store a baseline; it judges nothing until it is effective."""
        self._baselines[baseline.baseline_id] = baseline
        self._eras.pop(baseline.model, None)

    def add_effective(self, effective: control.Effective) -> None:
        """Let a baseline judge windows from an event time on."""
        self._effective[effective.model][effective.baseline_id] = effective.effective_from
        self._eras.pop(effective.model, None)

    def add_monitor(self, monitor: Monitor) -> None:
        """Store a version of a monitor."""
        self._monitors[monitor.model][monitor.monitor_version] = monitor
        if monitor.sensitive_features:
            self._sensitive.add(monitor.model)
        self._eras.pop(monitor.model, None)
        self._mappings.clear()
        for key in [key for key in self._rules if key[1] == monitor.monitor_version]:
            del self._rules[key]

    def eras(self, model: str) -> list[Era]:
        """Return the eras of a model in time order; empty when it has no baseline yet."""
        found = self._eras.get(model)
        if found is None:
            found = self._eras[model] = self._built(model)
        return found

    def _built(self, model: str) -> list[Era]:
        effective = sorted(
            (start, number, baseline_id)
            for baseline_id, start in self._effective.get(model, {}).items()
            if baseline_id in self._baselines
            for number in [self._baselines[baseline_id].number]
        )
        if not effective:
            return []
        versions = sorted(self._monitors.get(model, {}).values(), key=lambda m: (m.effective_from, m.monitor_version))
        starts = sorted(
            {start for start, _, _ in effective}
            | {m.effective_from for m in versions if m.effective_from > effective[0][0]}
        )
        eras = []
        for start, end in zip(starts, [*starts[1:], FOREVER], strict=True):
            baseline_id = effective[bisect_right(effective, start, key=lambda e: e[0]) - 1][2]
            before = [m for m in versions if m.effective_from <= start]
            monitor = before[-1] if before else Monitor(model=model)
            eras.append(Era(start, end, _windowed(self._baselines[baseline_id], monitor), monitor))
        return eras

    def under(self, model: str, baseline_id: str, monitor_version: int) -> tuple[Baseline, Monitor]:
        """Return the baseline and monitor that counts name, the window being the one they were counted in.

        Raises
        ------
        LookupError
            When the control topic lacks the baseline.
        """
        monitor = self._monitors.get(model, {}).get(monitor_version) or Monitor(model=model)
        if baseline_id not in self._baselines:
            raise LookupError(f"counts of {model} name baseline {baseline_id}, which the control topic lacks")
        return _windowed(self._baselines[baseline_id], monitor), monitor

    def monitor(self, model: str) -> Monitor:
        """Return the newest monitor of a model."""
        versions = self._monitors.get(model)
        return versions[max(versions)] if versions else Monitor(model=model)

    def baseline(self, baseline_id: str) -> Baseline | None:
        """Return a stored baseline."""
        return self._baselines.get(baseline_id)

    def newest(self, model: str) -> Baseline | None:
        """Return the baseline that is effective last."""
        eras = self.eras(model)
        return eras[-1].baseline if eras else None

    def baselines_of(self, model: str) -> list[Baseline]:
        """Return all baselines of a model by number."""
        return sorted((b for b in self._baselines.values() if b.model == model), key=lambda b: b.number)

    def hides(self, model: str) -> bool:
        """Tell whether rows of a model must not be copied: a version of its monitor has a sensitive feature.

        A model with a monitor that could not be read counts as one that has.
        """
        return model in self._sensitive or model in self._unread

    def window_end(self, model: str, time_ms: int) -> int:
        """Return the end of the window in which an event time lies; the end of time where no baseline is effective."""
        for era in self.eras(model):
            if era.start_ms <= time_ms < era.end_ms:
                size, zone = era.baseline.window_ms, era.monitor.timezone
                return window_end(window_start(time_ms, size, zone), size, zone)
        return FOREVER

    def guards_ms(self, model: str, record_times: Times, most_ms: int) -> Times | int:
        """Return how far event times may lie past each of these record times: a base window then, `most_ms` at most.

        A function of the record: the windows are those of the baseline and monitor effective at its own time.
        """
        eras = self.eras(model)
        sizes = np.array([most_ms, *(min(most_ms, era.baseline.window_ms) for era in eras)], np.int64)
        if (sizes == sizes[-1]).all():
            return int(sizes[-1])
        starts = np.array([era.start_ms for era in eras], np.int64)
        guards: Times = sizes[starts.searchsorted(record_times, "right")]
        return guards

    def keeps_value(self, record: Record) -> bool:
        """Tell whether a record may be copied whole, as into a dead letter.

        True while no model has a sensitive feature; else only for a record whose key names a known model
        without one. A model with a monitor that could not be read counts as one that has.
        """
        if not (self._unread or self._sensitive):
            return True
        model = _key(record)
        return not self.hides(model) and model in self.models()

    def models(self) -> list[str]:
        """Return the models that have a baseline or a monitor."""
        return sorted({b.model for b in self._baselines.values()} | set(self._monitors))

    def sources(self) -> list[tuple[Monitor, Source]]:
        """Return every source of every version of a monitor: rows from before a change still come in."""
        everything = [monitor for versions in self._monitors.values() for monitor in versions.values()]
        return [(monitor, source) for monitor in everything for source in monitor.sources]

    def mappings(self, topic: str) -> tuple[Mapping, ...]:
        """Return how the rows of a topic are read, model by model; the same tuple until a monitor is added."""
        found = self._mappings.get(topic)
        if found is None:
            found = self._mappings[topic] = tuple(self._mapped(topic))
        return found

    def _mapped(self, topic: str) -> Iterator[Mapping]:
        for model, versions in sorted(self._monitors.items()):
            ordered = sorted(versions.values(), key=lambda m: (m.effective_from, m.monitor_version))
            spans: list[tuple[int, int, list[Source]]] = []
            for monitor, end in zip(ordered, [*(m.effective_from for m in ordered[1:]), FOREVER], strict=True):
                sources = [source for source in monitor.sources if source.reads(topic)]
                if spans and spans[-1][2] == sources:
                    spans[-1] = (spans[-1][0], end, sources)
                elif monitor.effective_from < end:
                    spans.append((monitor.effective_from, end, sources))
            for start, end, sources in spans:
                yield from (Mapping(model, max(start, source.since_ms), end, source) for source in sources)

    def layout(self, baseline: Baseline) -> Layout:
        """Return the layout of a baseline's counts, made once."""
        found = self._layouts.get(baseline.baseline_id)
        if found is None:
            found = self._layouts[baseline.baseline_id] = Layout(baseline)
        return found

    def rule(self, baseline: Baseline, monitor: Monitor) -> Rule:
        """Return the decision rule of a baseline under a monitor; those used last are kept."""
        key = (baseline.baseline_id, monitor.monitor_version)
        found = self._rules.pop(key, None)
        if found is None:
            from detectors.rule import Rule  # only `detect` and replay judge; other roles stay small

            found = Rule(baseline, self.layout(baseline), monitor)
            room = MAX_RULE_CELLS - self.layout(baseline).size
            while self._rules and self._n_rule_cells() > room:
                del self._rules[next(iter(self._rules))]
        self._rules[key] = found
        return found

    def _n_rule_cells(self) -> int:
        return sum(layout.size for baseline_id, _ in self._rules if (layout := self._layouts.get(baseline_id)))


def _key(record: Record) -> str:
    return (record.key or b"").decode("utf-8", "replace")


def _windowed(baseline: Baseline, monitor: Monitor) -> Baseline:
    """Return the baseline with the window the monitor asks for."""
    if monitor.window == "auto" or SIZES_MS[monitor.window] == baseline.window_ms:
        return baseline
    reason = f"{monitor.window}: as the monitor says"
    return msgspec.structs.replace(baseline, window_ms=SIZES_MS[monitor.window], window_reason=reason)


def records_of(baseline: Baseline, effective_from: int | None) -> list[tuple[str, str, bytes]]:
    """Return (topic, key, value) of the control records that publish a baseline.

    With `effective_from` None it is stored only.
    """
    topic = topics.BASELINES.name
    records = [(topic, key, value) for key, value in control.chunks(baseline.baseline_id, baselines.encode(baseline))]
    if effective_from is not None:
        effective = control.Effective(baseline.model, baseline.baseline_id, effective_from)
        records.append((topic, f"{baseline.model}/effective/{baseline.baseline_id}", control.encode(effective)))
    return records


def monitor_record(monitor: Monitor) -> tuple[str, str, bytes]:
    """Return (topic, key, value) of the control record of a monitor."""
    return topics.MONITORS.name, f"{monitor.model}/{monitor.monitor_version}", msgspec.json.encode(monitor)
