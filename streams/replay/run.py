"""Replay: records in, verdicts out, through the stages that run live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from schemas import alerts, results, topics
from schemas.alerts import Alert
from schemas.mapped import MappedDecoder
from schemas.records import PlainRecord, Record
from schemas.results import Result
from streams.agents.judge import JudgeStage
from streams.agents.outputs import Originating
from streams.agents.profile import ProfileStage
from streams.catalogue import Catalogue
from streams.engine.outbox import Output


class Silent:
    """Counts nothing; the stages' metrics when nobody scrapes. `n_dead` counts what could not be used."""

    def __init__(self) -> None:
        self.n_dead: dict[str, int] = {}
        self.n_rows = 0
        self.n_late = 0

    def rows(self, model: str, n_rows: int, newest_ms: int | None = None) -> None:
        """Count rows."""
        del model, newest_ms
        self.n_rows += n_rows

    def late_rows(self, model: str, n_rows: int) -> None:
        """Count late rows."""
        del model
        self.n_late += n_rows

    def dead_letter(self, reason: str) -> None:
        """Count a dead letter."""
        self.n_dead[reason] = self.n_dead.get(reason, 0) + 1

    def tombstones(self, n_records: int) -> None:
        """Pass over."""

    def limited(self, limit: str, n: int) -> None:
        """Pass over."""

    def observe_result(self, result: Result, now_ms: int) -> None:
        """Pass over."""

    def observe_alert(self, alert: Alert) -> None:
        """Pass over."""

    def late_after_final(self, n_windows: int) -> None:
        """Pass over."""


class Replay:
    """One run over a bounded range of one or more source partitions.

    Parameters
    ----------
    catalogue
        The baselines and monitors to judge under; every model needs a baseline in it.
    run_id
        Names the run in its results; never ``live``.
    """

    def __init__(self, catalogue: Catalogue, run_id: str) -> None:
        self.metrics = Silent()
        self.catalogue = catalogue
        one = dict.fromkeys((topic.name for topic in topics.ALL), 1)
        self._n_partitions = one
        self._profiles: dict[tuple[str, int], ProfileStage] = {}
        self._judge = JudgeStage(
            catalogue, Originating(topics.EVIDENCE.name, 0, one), self.metrics, lambda: 0, run_id=run_id
        )
        self._offset = 0

    def add(self, records: Sequence[Record]) -> Iterator[Result | Alert]:
        """Take records of one partition in offset order; `judge` tells what they lead to."""
        place = (records[0].topic, records[0].partition)
        profile = self._profiles.get(place)
        if profile is None:
            out = Originating(*place, self._n_partitions)
            mapped = bool(self.catalogue.mappings(place[0]))
            decoder = MappedDecoder(partial(self.catalogue.mappings, place[0])) if mapped else None
            profile = ProfileStage(f"{place[0]}/{place[1]}", self.catalogue, out, self.metrics, decoder=decoder)
            profile.before_checkpoint()
            self._profiles[place] = profile
        yield from self._judged(profile.update(records))

    def judge(self) -> Iterator[Result | Alert]:
        """Judge the windows that all partitions have passed; call when each has had its turn."""
        for profile in self._profiles.values():
            yield from self._judged(profile.flush(0, caught_up=False))

    def finish(self) -> Iterator[Result | Alert]:
        """Judge what is left: nothing follows the last record."""
        for profile in self._profiles.values():
            yield from self._judged(profile.flush(1 << 60, caught_up=True))
        yield from _decoded(self._judge.finish())

    def _judged(self, outputs: Iterable[Output]) -> Iterator[Result | Alert]:
        for output in outputs:
            if output.topic == topics.EVIDENCE.name:
                record = PlainRecord(output.topic, 0, self._offset, 0, output.value, output.key, output.headers)
                self._offset += 1
                yield from _decoded(self._judge.update([record]))


def _decoded(outputs: Iterable[Output]) -> Iterator[Result | Alert]:
    for output in outputs:
        if output.topic == topics.RESULTS.name and output.value is not None:
            yield results.decode(output.value)
        elif output.topic == topics.ALERTS.name and output.value is not None:
            yield alerts.decode(output.value)


def last_revisions(made: Iterable[Result | Alert]) -> list[Result]:
    """Return the newest revision of every window, in order of window end."""
    newest: dict[tuple[str, str, str, int, int], Result] = {}
    for item in made:
        if isinstance(item, Result):
            key = (item.model, item.baseline_id, item.slice, item.scale, item.window_start)
            if key not in newest or newest[key].revision <= item.revision:
                newest[key] = item
    return sorted(newest.values(), key=lambda r: (r.window_end, r.model, r.slice, r.scale))
