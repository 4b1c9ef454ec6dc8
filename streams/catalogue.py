"""Which baseline and monitor are effective for a model, and from which event time on."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import numpy as np

from detectors.layout import Layout
from detectors.windows import SIZES_MS, Times, window_end, window_start
from schemas import baselines, control, monitors, topics
from schemas.baselines import Baseline, IncompatibleBaseline
from schemas.codec import ORIGIN_HEADER, CorruptError, Origin
from schemas.monitors import Monitor
from schemas.records import Record
from schemas.sources import Mapping, Source

if TYPE_CHECKING:
    from detectors.rule import Rule

log = logging.getLogger(__name__)
K = TypeVar("K")
V = TypeVar("V")

N_CACHED = 4
"""Layouts a model keeps, and pairs of baseline and monitor: those in force before and after a change."""

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


class _Known:
    """What is known of one model, and what was made of it; nothing here is shared between models."""

    def __init__(self) -> None:
        self.effective: dict[tuple[str, int], int] = {}
        self.monitors: dict[int, Monitor] = {}
        self.eras: list[Era] | None = None
        self.layouts: dict[str, Layout] = {}
        self.pairs: dict[tuple[str, int], tuple[Baseline, Monitor]] = {}

    def in_force(self) -> list[Monitor]:
        """Return the monitors by the time they begin, without those a later decision has come before."""
        ordered = sorted(self.monitors.values(), key=lambda m: (m.effective_from, m.monitor_version))
        found: list[Monitor] = []
        for monitor in ordered:
            if not found or monitor.monitor_version > found[-1].monitor_version:
                found.append(monitor)
        return found


class Catalogue:
    """The control topics as one sees them: filled by a `Follower`, asked by stages.

    Baselines are immutable and many; those effective make the eras of a model.
    """

    def __init__(self) -> None:
        self._assembly = control.Assembly()
        self._baselines: dict[str, Baseline] = {}
        self._models: dict[str, _Known] = defaultdict(_Known)
        self._rules: dict[tuple[str, int], tuple[Rule, int]] = {}
        self._answers: dict[bytes, Monitor | control.Effective] = {}
        self._unread: set[str] = set()
        self._sensitive: set[str] = set()
        self._mappings: dict[str, tuple[Mapping, ...]] = {}

    def update(self, record: Record) -> None:
        """Take one record of a control topic; one that cannot be read is logged and skipped."""
        if record.value is None:
            return
        try:
            self._take(record, record.value)
        except UNREADABLE as error:
            where = f"{record.topic}/{record.partition}@{record.offset}"
            log.error("%s (key %r) is skipped: %s: %s", where, record.key, type(error).__name__, error)
            if record.topic == topics.MONITORS.name:
                self._unread.add(_key(record).rpartition("/")[0])

    def _take(self, record: Record, value: bytes) -> None:
        if record.topic == topics.MONITORS.name:
            monitor = monitors.decode(value)
            self.add_monitor(monitor)
            self._note(record, monitor)
            return
        message = control.decode(value)
        if isinstance(message, control.Effective):
            self.add_effective(message)
            self._note(record, message)
        elif (whole := self._assembly.add(message)) is not None:
            self.add_baseline(baselines.decode(whole))

    def _note(self, record: Record, answer: Monitor | control.Effective) -> None:
        for name, origin in record.headers:
            if name == ORIGIN_HEADER:
                self._answers[origin] = answer

    def answer(self, origin: Origin) -> Monitor | control.Effective | None:
        """Return what the command at this origin has led to, when that is known already: before a crash."""
        return self._answers.get(origin.encode())

    def add_baseline(self, baseline: Baseline) -> None:
        """Store a baseline; it judges nothing until it is effective."""
        self._baselines[baseline.baseline_id] = baseline
        known = self._models[baseline.model]
        known.eras = None
        known.layouts.pop(baseline.baseline_id, None)
        known.pairs = {key: pair for key, pair in known.pairs.items() if key[0] != baseline.baseline_id}
        self._drop_rules(lambda key: key[0] == baseline.baseline_id)

    def add_effective(self, effective: control.Effective) -> None:
        """Let a baseline judge windows from an event time on."""
        known = self._models[effective.model]
        known.effective[effective.baseline_id, effective.sequence] = effective.effective_from
        known.eras = None

    def add_monitor(self, monitor: Monitor) -> None:
        """Store a version of a monitor; nothing of another model is touched."""
        known = self._models[monitor.model]
        version = monitor.monitor_version
        if known.monitors.get(version) == monitor:
            return
        known.monitors[version] = monitor
        if monitor.sensitive_features:
            self._sensitive.add(monitor.model)
        self._mappings.clear()
        known.eras = None
        known.pairs = {key: pair for key, pair in known.pairs.items() if key[1] != version}
        mine = {baseline_id for baseline_id, _ in self._rules if self._of(baseline_id) in (None, monitor.model)}
        self._drop_rules(lambda key: key[1] == version and key[0] in mine)

    def _of(self, baseline_id: str) -> str | None:
        baseline = self._baselines.get(baseline_id)
        return None if baseline is None else baseline.model

    def _drop_rules(self, stale: Callable[[tuple[str, int]], bool]) -> None:
        for key in [key for key in self._rules if stale(key)]:
            del self._rules[key]

    def eras(self, model: str) -> list[Era]:
        """Return the eras of a model in time order; empty when it has no baseline yet."""
        known = self._models.get(model)
        if known is None:
            return []
        if known.eras is None:
            known.eras = self._built(model, known)
        return known.eras

    def _built(self, model: str, known: _Known) -> list[Era]:
        """Return the eras: from its start on, what was decided later holds, whatever starts after it."""
        promoted = [
            (start, (sequence, self._baselines[baseline_id].number, baseline_id))
            for (baseline_id, sequence), start in known.effective.items()
            if baseline_id in self._baselines
        ]
        if not promoted:
            return []
        first = min(start for start, _ in promoted)
        versions = [(m.effective_from, version) for version, m in known.monitors.items()]
        starts = sorted({start for start, _ in promoted} | {start for start, _ in versions if start > first})
        eras: list[Era] = []
        for start, end in zip(starts, [*starts[1:], FOREVER], strict=True):
            baseline_id = max(order for since, order in promoted if since <= start)[2]
            version = max((version for since, version in versions if since <= start), default=None)
            monitor = Monitor(model=model) if version is None else known.monitors[version]
            era = Era(start, end, _windowed(self._baselines[baseline_id], monitor), monitor)
            if eras and (eras[-1].baseline.baseline_id, eras[-1].monitor) == (baseline_id, monitor):
                era = eras.pop()._replace(end_ms=end)
            eras.append(era)
        return eras

    def knows(self, model: str, baseline_id: str, monitor_version: int) -> bool:
        """Tell whether what evidence names has been delivered; version 0 is the default monitor."""
        if baseline_id not in self._baselines:
            return False
        return monitor_version == 0 or monitor_version in self._models[model].monitors

    def under(self, model: str, baseline_id: str, monitor_version: int) -> tuple[Baseline, Monitor]:
        """Return the baseline and monitor that counts name, the window being the one they were counted in.

        Raises
        ------
        LookupError
            When the control topics lack the baseline or the monitor's version; `knows` tells beforehand.
        """
        known = self._models[model]
        pair = known.pairs.get((baseline_id, monitor_version))
        if pair is not None:
            return pair
        if not self.knows(model, baseline_id, monitor_version):
            named = f"baseline {baseline_id} and monitor version {monitor_version}"
            raise LookupError(f"counts of {model} name {named}, which the control topics lack")
        monitor = known.monitors.get(monitor_version) or Monitor(model=model)
        pair = _windowed(self._baselines[baseline_id], monitor), monitor
        return _cached(known.pairs, (baseline_id, monitor_version), lambda: pair)

    def monitor(self, model: str) -> Monitor:
        """Return the newest monitor of a model."""
        known = self._models.get(model)
        return known.monitors[max(known.monitors)] if known and known.monitors else Monitor(model=model)

    def next_sequence(self, model: str) -> int:
        """Number the next promotion of a baseline."""
        return max((sequence for _, sequence in self._models[model].effective), default=0) + 1

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
        with_monitor = {model for model, known in self._models.items() if known.monitors}
        return sorted({b.model for b in self._baselines.values()} | with_monitor)

    def sources(self) -> list[tuple[Monitor, Source]]:
        """Return every source of every version of a monitor: rows from before a change still come in."""
        everything = [monitor for known in self._models.values() for monitor in known.monitors.values()]
        return [(monitor, source) for monitor in everything for source in monitor.sources]

    def mappings(self, topic: str) -> tuple[Mapping, ...]:
        """Return how the rows of a topic are read, model by model; the same tuple until a monitor is added."""
        found = self._mappings.get(topic)
        if found is None:
            found = self._mappings[topic] = tuple(self._mapped(topic))
        return found

    def _mapped(self, topic: str) -> Iterator[Mapping]:
        for model, known in sorted(self._models.items()):
            ordered = known.in_force()
            if not ordered:
                continue
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
        return _cached(self._models[baseline.model].layouts, baseline.baseline_id, lambda: Layout(baseline))

    def rule(self, baseline: Baseline, monitor: Monitor) -> Rule:
        """Return the decision rule of a baseline under a monitor; those used last are kept."""
        key = (baseline.baseline_id, monitor.monitor_version)
        found = self._rules.pop(key, None)
        if found is None:
            from detectors.rule import Rule  # only `detect` and replay judge; other roles stay small

            layout = self.layout(baseline)
            found = Rule(baseline, layout, monitor), layout.size
            room = MAX_RULE_CELLS - layout.size
            while self._rules and sum(n_cells for _, n_cells in self._rules.values()) > room:
                del self._rules[next(iter(self._rules))]
        self._rules[key] = found
        return found[0]


def _cached(cache: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """Return what is cached, made if need be; of more than `N_CACHED` the one not asked for longest leaves."""
    found = cache.pop(key, None)
    if found is None:
        found = make()
        if len(cache) >= N_CACHED:
            del cache[next(iter(cache))]
    cache[key] = found
    return found


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
