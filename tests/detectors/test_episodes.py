"""Episodes: one opens, grows worse, and closes after two calm base windows."""

from __future__ import annotations

import pytest

from detectors.episodes import Episodes
from detectors.errors import IncompatibleState
from detectors.rule import window_state
from detectors.windows import HOUR_MS
from schemas import results
from schemas.alerts import Alert
from schemas.monitors import Monitor
from schemas.results import FeatureVerdict, Result, Severity, Verdict

MONITOR = Monitor("credit-risk", owner="team-credit", budget=2.0)
START = 1_772_366_400_000


def verdict(feature: str, state: Verdict, effect: float = 0.3, severity: Severity = "major") -> FeatureVerdict:
    test = results.Test(effect + 0.01, 0.01, 0.05, effect, None, state == "drift")
    return FeatureVerdict(
        feature, state, severity if state == "drift" else "", "psi" if state == "drift" else "", {"psi": test}
    )


def window(hour: int, *features: FeatureVerdict, scale: int = 1, slice_: str = "") -> Result:
    end = START + (hour + 1) * HOUR_MS
    return Result(
        "live", "credit-risk", "7", slice_, scale, end - scale * HOUR_MS, end, 0, False, 1000, 0, "credit-risk@3", 1,
        window_state(features), list(features),
    )  # fmt: skip


def ok(hour: int, effect: float = 0.0, **more: int) -> Result:
    return window(hour, verdict("income", "ok", effect), verdict("age", "ok", 0.0), **more)  # type: ignore[arg-type]  # only scale


def drift(hour: int, feature: str = "income", severity: Severity = "major", **more: int) -> Result:
    return window(hour, verdict(feature, "drift", 0.3, severity), **more)  # type: ignore[arg-type]  # only scale


def run(episodes: Episodes, *story: Result) -> list[Alert]:
    return [alert for result in story for alert in episodes.update(result)]


def test_the_first_drift_opens_one_episode_with_its_features() -> None:
    (alert,) = run(
        Episodes(MONITOR), ok(0), window(1, verdict("income", "drift"), verdict("age", "drift", 0.1, "minor"))
    )
    assert alert.episode_id == "credit-risk/2026-03-01T14:00Z/1"
    assert (alert.sequence, alert.state, alert.previous, alert.why) == (1, "open", None, "drift")
    assert [(f.feature, f.severity) for f in alert.features] == [("income", "major"), ("age", "minor")]
    assert alert.features[0].since == START + HOUR_MS
    assert (alert.opened, alert.severity, alert.owner) == (START + 2 * HOUR_MS, "major", "team-credit")
    assert alert.expected_false_alarms_per_week == 2.0


def test_drift_that_goes_on_says_nothing_more() -> None:
    assert len(run(Episodes(MONITOR), *(drift(hour) for hour in range(10)))) == 1


def test_another_feature_or_a_higher_severity_is_worse() -> None:
    alerts = run(
        Episodes(MONITOR), drift(0, severity="minor"), drift(1, severity="moderate"), drift(2, "age", "minor"), drift(3)
    )
    assert [(a.sequence, a.why, a.severity) for a in alerts] == [
        (1, "drift", "minor"), (2, "worse", "moderate"), (3, "worse", "moderate"), (4, "worse", "major"),
    ]  # fmt: skip
    assert len({a.episode_id for a in alerts}) == 1


def test_two_calm_windows_in_a_row_close_it() -> None:
    alerts = run(Episodes(MONITOR), drift(0), ok(1), drift(2), ok(3), ok(4), ok(5))
    assert [(a.state, a.why, a.time) for a in alerts] == [
        ("open", "drift", START + HOUR_MS),
        ("resolved", "recovered", START + 5 * HOUR_MS),
    ]
    assert alerts[1].previous == "open"


def test_an_effect_above_its_gate_keeps_it_open() -> None:
    assert len(run(Episodes(MONITOR), drift(0), *(ok(hour, effect=0.03) for hour in range(1, 9)))) == 1


def test_another_features_effect_does_not_keep_it_open() -> None:
    calm = [window(h, verdict("income", "ok", 0.0), verdict("age", "ok", 0.03)) for h in (1, 2)]
    assert run(Episodes(MONITOR), drift(0), *calm)[-1].state == "resolved"


def test_insufficient_windows_do_not_count() -> None:
    thin = [window(hour, verdict("income", "insufficient")) for hour in (2, 3)]
    alerts = run(Episodes(MONITOR), drift(0), ok(1), *thin, ok(4))
    assert [a.state for a in alerts] == ["open", "resolved"]
    assert len(run(Episodes(MONITOR), drift(0), *thin)) == 1


def test_coarser_scales_do_not_hold_it_open() -> None:
    episodes = Episodes(MONITOR)
    alerts = episodes.update(drift(0), drift(0, scale=5))
    for hour in (1, 2):
        alerts += episodes.update(ok(hour), drift(hour, scale=5))
    assert [a.state for a in alerts] == ["open", "resolved"]


def test_an_episode_of_a_coarse_scale_waits_for_that_scale() -> None:
    episodes = Episodes(MONITOR)
    alerts = episodes.update(ok(4), drift(4, scale=5))
    for hour in (5, 6, 7):
        alerts += episodes.update(ok(hour), drift(hour, scale=5))
    assert [a.state for a in alerts] == ["open"]
    for hour in (8, 9):
        alerts += episodes.update(ok(hour), ok(hour, scale=5))
    assert [a.state for a in alerts] == ["open", "resolved"]


def test_scales_that_end_together_are_one_state() -> None:
    (alert,) = Episodes(MONITOR).update(drift(4, "age", "minor", scale=5), drift(4, "income"))
    assert {f.feature for f in alert.features} == {"age", "income"}


def test_after_a_close_merged_windows_that_reach_back_are_not_judged() -> None:
    episodes = Episodes(MONITOR)
    run(episodes, drift(4), ok(5), ok(6))
    assert episodes.update(ok(7), drift(7, scale=5)) == []
    assert episodes.update(ok(9), drift(9, scale=5))[0].why == "drift"


def test_every_slice_has_its_own_episode() -> None:
    episodes = Episodes(MONITOR)
    both = episodes.update(window(0, verdict("income", "drift")), window(0, verdict("income", "drift"), slice_="FR"))
    assert [a.slice for a in both] == ["", "FR"]
    assert len({a.episode_id for a in both}) == 2


def test_six_phases_are_six_episodes() -> None:
    story = [drift(h) if h // 6 % 2 else ok(h) for h in range(6 * 12 + 6)]
    alerts = run(Episodes(MONITOR), *story)
    assert [a.state for a in alerts] == ["open", "resolved"] * 6
    assert len({a.episode_id for a in alerts}) == 6


def test_a_provisional_baseline_opens_nothing() -> None:
    episodes = Episodes(MONITOR)
    assert episodes.update(drift(0), may_open=False) == []
    run(episodes, drift(1, severity="minor"))
    assert episodes.update(drift(2), may_open=False) == []


def test_a_short_reference_neither_opens_nor_closes() -> None:
    episodes = Episodes(MONITOR)
    short = [window(hour, verdict("income", "reference_too_short")) for hour in range(1, 9)]
    assert len(run(episodes, drift(0), *short)) == 1


def test_an_acknowledged_episode_opens_again_when_it_gets_worse() -> None:
    episodes = Episodes(MONITOR)
    (opened,) = run(episodes, drift(0, severity="minor"))
    (seen,) = episodes.acknowledge(opened.episode_id, by="ana", time=START)
    assert (seen.state, seen.previous, seen.by, seen.sequence) == ("acknowledged", "open", "ana", 2)
    assert episodes.acknowledge(opened.episode_id, by="ana", time=START) == []
    (worse,) = run(episodes, drift(1))
    assert (worse.state, worse.previous, worse.why) == ("open", "acknowledged", "worse")


@pytest.mark.parametrize("cut", range(12))
def test_restoring_anywhere_changes_nothing(cut: int) -> None:
    story = [ok(0), drift(1), drift(2, "age"), ok(3), ok(4), ok(5), drift(6), drift(7), ok(8), ok(9), ok(10), drift(11)]
    straight = run(Episodes(MONITOR), *story)
    first = Episodes(MONITOR)
    alerts = run(first, *story[:cut])
    second = Episodes(MONITOR)
    second.restore(first.snapshot())
    assert alerts + run(second, *story[cut:]) == straight


def test_a_damaged_snapshot_is_refused() -> None:
    with pytest.raises(IncompatibleState):
        Episodes(MONITOR).restore(b"\xc1")
