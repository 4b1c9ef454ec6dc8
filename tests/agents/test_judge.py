"""The judge: the same last revisions in any order and through any crash; what it flags, waits for and forgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import count

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import control, evidence, monitors, results, topics
from schemas.columns import Batch, Column
from schemas.control import Effective
from schemas.evidence import Apply, Partial, Promote
from schemas.monitors import Monitor
from schemas.records import PlainRecord
from schemas.results import Result
from streams.agents import judging, merging
from streams.agents.counting import ModelCounts
from streams.agents.judge import JudgeStage
from streams.agents.judging import ModelJudge
from streams.agents.outputs import Originating
from streams.catalogue import Catalogue, monitor_record
from streams.replay.run import Silent
from tests.agents.conftest import PARTITIONS, T0, catalogue

MINUTE_MS = 60_000
OF = catalogue("1m")
Key = tuple[int, int]


class Source:
    """A source of model ``m`` and what it has told."""

    def __init__(self, name: str, of: Catalogue = OF, model: str = "m") -> None:
        self.counts = ModelCounts(name, model, of)
        self.told: list[Partial] = []
        self._name, self._position = name, count()

    def rows(self, minute: float, n_rows: int = 40, *, version: str = "1") -> Source:
        """Count rows of the ten seconds from a minute on, and tell what that closes."""
        position = next(self._position)
        start = T0 + round(minute * MINUTE_MS)
        rng = np.random.default_rng([len(self._name), position])
        times = start + np.sort(rng.integers(0, 10_000, n_rows))
        columns = {f"f{n}": Column(rng.normal(size=n_rows)) for n in range(2)}
        whole = np.ones(n_rows, np.int64)
        self.counts.add([Batch("m", version, times, columns, None, whole * position, whole * start)])
        self.told += self.counts.partials(position + 1, None)
        return self

    def rest(self, minute: float) -> Source:
        """Tell that the source is idle, and has been until this minute."""
        self.told += self.counts.partials(next(self._position) + 1, T0 + round(minute * MINUTE_MS))
        return self


def judged(told: Sequence[Partial], judge: ModelJudge | None = None) -> list[Result]:
    """Return the results of some evidence as the judge publishes them."""
    judge = judge or ModelJudge("m", OF, "test")
    return [made for partial in told for made in judge.add(partial) if isinstance(made, Result)]


def last(made: Sequence[Result]) -> dict[Key, Result]:
    """Return the last revision of each (scale, window start)."""
    found: dict[Key, Result] = {}
    for result in made:
        key = (result.scale, result.window_start)
        if key not in found or found[key].revision <= result.revision:
            found[key] = result
    return found


def restored(judge: ModelJudge, of: Catalogue = OF) -> ModelJudge:
    """Return a judge with the same state, as after a crash."""
    made = ModelJudge("m", of, "test")
    made.restore(judge.encode())
    return made


def traffic() -> list[list[Partial]]:
    """Return what three sources tell: steady, out of order and late, idle in between and back."""
    steady, unruly, sleepy = Source("steady"), Source("unruly"), Source("sleepy")
    for minute in (0, 1, 2, 3, 4, 5, 6, 7, 8, 20):
        steady.rows(minute, version="1" if minute < 4 else "2")
    for at in (0, 2, 1.5, 3, 1, 5.5, 5, 4.6, 4.9, 9, 8.2, 3, 20):
        unruly.rows(at, version="2" if at in (3, 9) else "1")
    sleepy.rows(0).rest(6).rows(2).rows(3).rest(12).rows(5, version="3").rows(20)
    return [steady.told, unruly.told, sleepy.told]


TOLD = traffic()
EXPECTED = last(judged([partial for told in TOLD for partial in told]))


@st.composite
def interleavings(draw: st.DrawFn) -> list[Partial]:
    """Evidence of all sources, each in its order, some of it told again later as after a crash of the source."""
    turns = draw(st.permutations([n for n, told in enumerate(TOLD) for _ in told]))
    rest: list[Iterator[Partial]] = [iter(told) for told in TOLD]
    mixed = [next(rest[turn]) for turn in turns]
    for at in draw(st.lists(st.integers(0, len(mixed) - 1), max_size=4)):
        mixed.insert(draw(st.integers(at + 1, len(mixed))), mixed[at])
    return mixed


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(told=interleavings(), crashes=st.sets(st.integers(0, 40), max_size=4))
def test_any_order_repetition_and_crash_give_the_same_last_revisions(told: list[Partial], crashes: set[int]) -> None:
    judge = ModelJudge("m", OF, "test")
    made = []
    for n, partial in enumerate(told):
        if n in crashes:
            judge = restored(judge)
        made += judged([partial], judge)
    found = last(made)
    assert found.keys() == EXPECTED.keys()
    for key, result in found.items():
        assert result == EXPECTED[key]


def test_a_window_is_judged_at_its_end_looked_at_while_open_and_sealed_when_it_closes() -> None:
    one, other = Source("one").rows(0).rows(1), Source("other").rows(0).rows(1)
    other.rows(1.02).rows(0.5).rows(1.1).rows(2.5)
    one.rows(1.1).rows(2.5)
    looks = [
        result
        for result in judged([one.told[0], other.told[0], one.told[1], *other.told[1:], *one.told[2:]])
        if result.window_start == T0
    ]
    base = [(result.rows, result.sealed) for result in looks if result.scale == 1]
    assert base == [(80, False), (120, False), (120, True)]


def test_the_state_does_not_grow_with_sources_once_they_have_passed_a_window() -> None:
    def size(n_sources: int) -> int:
        judge = ModelJudge("m", OF, "test")
        sources = [Source(f"source{n:02}") for n in range(n_sources)]
        for minute in (*range(10), 30):
            for source in sources:
                source.rows(minute, n_rows=640 // n_sources)
        for told in zip(*(source.told for source in sources), strict=True):
            judged(told, judge)
        return len(judge.encode())

    assert size(32) < 1.5 * size(1)


def test_versions_beyond_the_limit_of_a_window_count_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MAX_VERSIONS", 3)
    source = Source("one")
    for n in range(8):
        source.rows(n / 100, n_rows=10, version=f"v{n}")
    result = last(judged(source.rows(5).told))[1, T0]
    assert (result.rows, result.version) == (80, merging.OTHER)


# what is missing


def test_windows_whose_rows_may_be_missing_are_flagged_also_when_they_were_judged() -> None:
    source = Source("one").rows(0).rows(1).rows(2).rows(3).rows(4.5)
    source.counts.lose()
    source.rows(6.5).rows(7).rows(20)
    flagged = {key[1] for key, result in last(judged(source.told)).items() if key[0] == 1 and result.flags}
    assert flagged == {T0 + minute * MINUTE_MS for minute in (4, 6)}
    before = last(judged(source.told))[1, T0 + 4 * MINUTE_MS]
    assert before.flags == [judging.STATE_LOST]


def test_a_judge_that_lost_evidence_flags_what_its_sources_had_not_said_for_good() -> None:
    source, other = Source("one"), Source("other")
    for minute in (0, 1, 2, 3, 4, 5, 6, 20):
        source.rows(minute)
        other.rows(minute)
    judge = ModelJudge("m", OF, "test")
    made = judged([partial for pair in zip(source.told[:4], other.told[:4], strict=True) for partial in pair], judge)
    judge.lost()
    judge = restored(judge)
    later = [partial for pair in zip(source.told[5:], other.told[5:], strict=True) for partial in pair]
    found = last([*made, *judged(later, judge)])
    flags = {(key[1] - T0) // MINUTE_MS: result.flags for key, result in found.items() if key[0] == 1}
    assert [minute for minute, told in flags.items() if told] == [2, 4, 5]  # of 3 nothing is known at all
    assert flags[1] == flags[6] == []


def test_a_source_that_announces_itself_after_a_loss_is_new() -> None:
    judge = ModelJudge("m", OF, "test", after_loss=True)
    source = Source("one")
    announcement = source.counts.announcement(0)
    assert announcement is not None
    told = [announcement, *source.rows(0).rows(1).rows(5).told]
    assert {tuple(result.flags) for result in judged(told, judge)} == {()}
    assert judged(Source("heard before").rows(0).rows(9).told, judge)[0].flags == [judging.STATE_LOST]


def test_counts_that_come_too_late_are_told_with_the_next_window() -> None:
    made = catalogue("1m")
    made.add_monitor(Monitor("m", window="1m", scales=[1]))
    judge = ModelJudge("m", made, "test")
    quick, slow = Source("quick", made), Source("slow", made)
    for minute in (0, 1, 2, 10, 20, 30):
        quick.rows(minute)
    slow.rows(0.2).rows(1.2).rows(2.5)
    judged(quick.told[:-1], judge)
    judged([msgspec.structs.replace(partial, idle=True) for partial in slow.told], judge)
    assert judge.n_late_after_final == 2
    judge.restore(restored(judge, made).encode())
    result = last(judged(quick.rows(40).told[-2:], judge))[1, T0 + 20 * MINUTE_MS]
    assert (result.late_after_final, result.flags) == (2, [judging.LATE_AFTER_FINAL])
    assert all(not after.flags for after in judged(quick.rows(50).rows(60).told[-2:], judge))


def test_what_is_told_again_after_a_crash_of_its_source_is_not_late() -> None:
    judge = ModelJudge("m", OF, "test")
    source = Source("one").rows(0).rows(3).rows(0.5).rows(60).rows(62)
    judged([*source.told, *source.told], judge)
    assert judge.n_late_after_final == 0


# versions of the model


def marks(made: Sequence[Result]) -> dict[int, list[tuple[str, int]]]:
    """Return the deployments told by minute."""
    marked = [result for result in last(made).values() if result.deployments and result.scale == 1]
    return {(result.window_start - T0) // MINUTE_MS: result.deployments for result in marked}


def test_the_first_event_of_a_new_version_is_a_mark_in_its_window() -> None:
    source = Source("one").rows(0).rows(1).rows(2.5, version="2").rows(3, version="2").rows(4).rows(9)
    ((minute, ((version, time),)),) = marks(judged(source.told)).items()
    assert (minute, version) == (2, "2")
    assert T0 + 2.5 * MINUTE_MS <= time < T0 + 2.7 * MINUTE_MS


def test_a_mark_moves_when_an_earlier_event_of_its_version_comes_later() -> None:
    one, other = Source("one"), Source("other")
    for minute in (0, 1, 2, 3, 4, 9):
        one.rows(minute, version="2" if minute >= 3 else "1")
        other.rows(minute, version="2" if minute >= 1 else "1")
    for order in ([*one.told, *other.told], [*other.told, *one.told]):
        assert [(minute, told[0][0]) for minute, told in marks(judged(order)).items()] == [(1, "2")]


def test_rows_without_a_version_and_versions_beyond_the_limit_are_not_marked() -> None:
    source = Source("one").rows(0, version="7").rows(1, version="").rows(9, version="7")
    assert marks(judged(source.told)) == {}
    source = Source("two")
    for n in range(100):
        source.rows(n / 100, n_rows=1, version=f"v{n}")
    judge = ModelJudge("m", OF, "test")
    assert len(marks(judged(source.rows(9, version="v0").told, judge))[0]) == 63


# versions of monitor and baseline


def windows_of(made: Sequence[Result]) -> dict[tuple[int, int], list[str]]:
    """Return the flags of base windows by start and length in minutes."""
    return {
        ((r.window_start - T0) // MINUTE_MS, (r.window_end - r.window_start) // MINUTE_MS): r.flags
        for r in last(made).values()
        if r.scale == 1
    }


def test_a_window_counted_under_two_versions_is_judged_under_none_whichever_came_first() -> None:
    made = catalogue("1m")
    behind, ahead = Source("behind", made), Source("ahead", made)
    for minute in (0, 1, 2, 9):
        behind.rows(minute)
    made.add_monitor(Monitor("m", window="1m", monitor_version=1, effective_from=T0 + MINUTE_MS))
    for minute in (0, 1, 2, 9):
        ahead.rows(minute)
    found = [
        last(judged(told, ModelJudge("m", made, "t"))) for told in (behind.told + ahead.told, ahead.told + behind.told)
    ]
    assert found[0] == found[1]
    mixed = found[0][1, T0 + MINUTE_MS]
    assert (mixed.flags, mixed.state, mixed.features, mixed.monitor_version) == (
        ["version_mixed"],
        "insufficient",
        [],
        1,
    )
    assert found[0][1, T0].flags == []


def test_windows_of_different_lengths_that_share_time_are_mixed() -> None:
    made = catalogue("1m")
    behind, ahead = Source("behind", made), Source("ahead", made)
    for minute in (0, 1, 2, 6, 7, 30):
        behind.rows(minute)
    made.add_monitor(Monitor("m", window="5m", monitor_version=1, effective_from=T0 + 5 * MINUTE_MS))
    for minute in (0, 1, 2, 6, 7, 30):
        ahead.rows(minute)
    for told in (behind.told + ahead.told, ahead.told + behind.told):
        found = windows_of(judged(told, ModelJudge("m", made, "t")))
        assert {key for key, flags in found.items() if flags} == {(5, 5), (6, 1), (7, 1)}
        assert found[0, 1] == []


# the stage


def stage(of: Catalogue) -> JudgeStage:
    """Return an empty stage."""
    return JudgeStage(of, Originating(topics.EVIDENCE.name, 0, PARTITIONS), Silent(), lambda: 0)


def records(messages: Sequence[evidence.Evidence], first: int = 0) -> list[PlainRecord]:
    """Return evidence as it stands in its topic."""
    return [
        PlainRecord(topics.EVIDENCE.name, 0, first + n, 0, evidence.encode(message), b"")
        for n, message in enumerate(messages)
    ]


def delivered(to: Catalogue, outputs: Sequence[object]) -> None:
    """Hand control records to a catalogue, as a worker that follows the topics."""
    for n, output in enumerate(outputs):
        topic, value, headers = (getattr(output, name) for name in ("topic", "value", "headers"))
        if topic in (topics.MONITORS.name, topics.BASELINES.name):
            to.update(PlainRecord(topic, 0, n, 0, value, b"m/x", headers))


def test_evidence_waits_for_the_versions_it_names() -> None:
    ahead = catalogue("1m")
    ahead.add_monitor(Monitor("m", window="1m", monitor_version=3, effective_from=T0 + 3 * MINUTE_MS))
    source = Source("one", ahead).rows(0).rows(1).rows(2).rows(3).rows(4).rows(9)
    told = records(source.told)
    n_known = sum(all(w.monitor_version == 0 for w in partial.windows) for partial in source.told)
    assert 0 < n_known < len(told)
    for behind, n_ready in ((Catalogue(), 0), (catalogue("1m"), n_known), (ahead, len(told))):
        one = stage(behind)
        assert one.ready(told) == n_ready
        if n_ready < len(told):
            with pytest.raises(LookupError, match="control topics lack"):
                one.update(told)
    assert (
        stage(Catalogue()).ready([PlainRecord("t", 0, 0, 0, b"\xc1", b""), PlainRecord("t", 0, 1, 0, None, b"")]) == 2
    )


def two_models(apply: bool) -> tuple[list[bytes], Catalogue, list[object]]:
    """Return the results of model ``n``, before and after a monitor of ``m`` is applied or not."""
    made = catalogue("1m", ("m", "n"))
    one = stage(made)
    mine, theirs = Source("one", made), Source("one", made, "n")
    for minute in (0, 1, 2):
        mine.rows(minute)
        theirs.rows(minute)
    outputs = one.update(records([*mine.told, *theirs.told]))
    made.add_monitor(Monitor("n", window="1m", monitor_version=1))
    made.add_monitor(Monitor("m", window="1m", monitor_version=0))
    cached = [made.layout(made.eras("n")[0].baseline), made.rule(*made.under("n", "n@1", 0)), made.under("n", "n@1", 1)]
    if apply:
        answer = one.update(records([Apply("m", monitors.encode(Monitor("m", window="5m", budget=9.0)))], 100))
        delivered(made, answer)
        assert made.monitor("m").monitor_version == 1
    same = [made.layout(made.eras("n")[0].baseline), made.rule(*made.under("n", "n@1", 0)), made.under("n", "n@1", 1)]
    assert all(a is b for a, b in zip(cached, same, strict=True))
    n_told = len(theirs.told)
    for minute in (3, 4, 9):
        mine.rows(minute)
        theirs.rows(minute)
    outputs += one.update(records([*mine.told[3:], *theirs.told[n_told:]], 200))
    found = [results.decode(o.value or b"") for o in outputs if o.topic == topics.RESULTS.name]
    return [results.encode(result) for result in found if result.model == "n"], made, []


def test_a_monitor_applied_to_one_model_touches_no_other() -> None:
    assert two_models(apply=True)[0] == two_models(apply=False)[0]


def test_commands_repeated_after_a_crash_are_answered_once() -> None:
    made = catalogue("1m")
    source = Source("one", made).rows(0).rows(1)
    asked: list[evidence.Evidence] = [
        Apply("m", monitors.encode(Monitor("m", window="1m", budget=2.0))),
        Promote("m", "m@1"),
        Apply("m", monitors.encode(Monitor("m", window="1m", budget=3.0))),
    ]
    one = stage(made)
    one.update(records(source.told))
    snapshot = {name: one.encode(name) for name in one.segments()}
    answers = one.update(records(asked, 10))
    assert len(answers) == 3
    delivered(made, answers[:2])  # the third was not durable when the worker died
    other = stage(made)
    other.restore(snapshot)
    again = other.update(records(asked, 10))
    assert [output.value for output in again] == [answers[2].value]
    delivered(made, again)
    assert [(era.monitor.monitor_version, era.monitor.budget) for era in made.eras("m")] == [(0, 1.0), (2, 3.0)]


def test_the_later_decision_wins_at_the_same_boundary_and_a_return_leaves_the_past_alone() -> None:
    made = catalogue("1m")
    second = msgspec.structs.replace(made.baselines_of("m")[0], baseline_id="m@2", number=2)
    made.add_baseline(second)
    one = stage(made)
    source = Source("one", made).rows(0).rows(1)
    one.update(records(source.told))
    for n, baseline_id in enumerate(("m@2", "m@1", "m@2")):
        delivered(made, one.update(records([Promote("m", baseline_id)], 10 + n)))
    assert [era.baseline.baseline_id for era in made.eras("m")] == ["m@1", "m@2"]
    one.update(records(source.rows(9).told[-1:], 20))
    delivered(made, one.update(records([Promote("m", "m@1")], 21)))
    eras = made.eras("m")
    assert [era.baseline.baseline_id for era in eras] == ["m@1", "m@2", "m@1"]
    assert eras[0].start_ms == 0
    assert eras[1].end_ms == eras[2].start_ms > T0 + 9 * MINUTE_MS


def test_a_pending_change_does_not_outlive_a_later_one() -> None:
    made = catalogue("1m")
    one = stage(made)
    one.update(records(Source("one", made).rows(0).rows(1).told))
    daily = Apply("m", monitors.encode(Monitor("m", window="1d")))
    delivered(made, one.update(records([daily], 10)))
    begins = made.eras("m")[-1].start_ms
    assert begins % (24 * 60 * MINUTE_MS) == 0
    back = Apply("m", monitors.encode(Monitor("m", window="1m", budget=5.0)))
    delivered(made, one.update(records([back], 11)))
    assert [(era.start_ms, era.monitor.window) for era in made.eras("m")] == [(0, "1m"), (begins, "1m")]


# what is forgotten


def test_what_nobody_needs_any_more_is_forgotten() -> None:
    made = catalogue("1m")
    made.add_monitor(Monitor("m", window="1m", scales=[1]))
    made.add_baseline(msgspec.structs.replace(made.baselines_of("m")[0], baseline_id="m@2", number=2))
    judge = ModelJudge("m", made, "test")
    gone = Source("learning<gone", made).rows(0, 800).rows(1, 800).rest(30)
    source = Source("one", made)
    sizes = []
    for minute in range(60):
        if minute == 10:
            made.add_effective(Effective("m", "m@2", T0 + 10 * MINUTE_MS, 1))
        source.rows(minute, 800)
    told = iter(source.told)
    judged([next(told), *gone.told], judge)
    for partial in told:
        judged([partial], judge)
        sizes.append(len(judge.encode()))
    assert max(sizes[40:]) < 1.1 * max(sizes[15:30])
    state = judge.encode()
    assert b"learning<gone" not in state
    detectors = msgspec.msgpack.decode(state, type=judging.State).detectors
    kept = [*detectors.detectors, *(key for known in detectors.next_block.values() for key in known)]
    assert {baseline_id for _, _, baseline_id in kept} == {"m@2"}


def test_a_detector_of_another_release_begins_afresh_and_that_is_told() -> None:
    judge = ModelJudge("m", OF, "test")
    source = Source("one")
    for minute in range(6):
        source.rows(minute, 800)
    judged(source.told[:-1], judge)
    state = judge.encode()
    assert b"0.2" in state
    other = ModelJudge("m", OF, "test")
    other.restore(_another_river(state))
    told = {result.window_start: result.flags for result in judged(source.told[-1:], other) if result.scale == 1}
    assert sorted(told.values()) == [[], [judging.DETECTORS_RESET]]


def _another_river(state: bytes) -> bytes:
    name = version("river").encode()
    return state.replace(name, b"9" * len(name))


def test_monitor_records_of_a_control_topic_are_numbered_by_decision() -> None:
    made = catalogue("1m")
    topic, _, value = monitor_record(Monitor("m", monitor_version=4))
    made.update(PlainRecord(topic, 0, 0, 0, value, b"m/4"))
    answer = stage(made).update(records([Apply("m", monitors.encode(Monitor("m")))]))
    assert monitors.decode(answer[0].value or b"").monitor_version == 5
    effective = stage(made).update(records([Promote("m", "m@1")]))[0]
    assert control.decode(effective.value or b"") == Effective("m", "m@1", 0, 1)
