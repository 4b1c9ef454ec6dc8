"""What was stored is read back as it was, whatever its names are."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from schemas import feedback as feedback_messages
from schemas.alerts import Alert, AlertFeature
from schemas.columns import Column
from schemas.records import PlainRecord
from schemas.results import Warning
from streams.panel.history import History as PanelHistory
from streams.sinks.clickhouse import ClickHouse, Writer
from streams.sinks.history import History
from streams.sinks.rows import (
    Rows,
    rows_of_alert,
    rows_of_batch,
    rows_of_control,
    rows_of_feedback,
    rows_of_result,
    rows_of_results,
)
from tests.sinks.results import HOSTILE, HOUR_MS, START_MS, a_batch, a_feature, a_result


async def _write(store: ClickHouse, rows: Rows, offset: int = 0) -> None:
    writer = Writer(store, "topic", 0)
    writer.add(rows, offset)
    await writer.flush()


def _alert(episode: str, sequence: int, state: str, model: str = "credit-risk") -> Alert:
    return Alert(
        episode_id=episode,
        sequence=sequence,
        state=state,  # type: ignore[arg-type] # a parameter keeps the tests short
        previous=None,
        why="new",
        model=model,
        version="7",
        slice="",
        severity="major",
        opened=START_MS,
        time=START_MS + sequence,
        features=[AlertFeature("income", START_MS, 0.31, 0.041)],
    )


async def test_results_come_back_as_they_were(clickhouse: ClickHouse) -> None:
    warning = Warning("income", "adwin", START_MS + 5, 32010.0, 40950.0)
    results = [a_result(warnings=[warning]), a_result(hour=1, features=[]), a_result(hour=2, revision=3)]
    await _write(clickhouse, rows_of_results(results))
    assert await History(clickhouse).results("credit-risk") == results


@pytest.mark.parametrize("method", ["latest", "results", "alerts"])
def test_the_panel_can_ask_what_it_wants_to(method: str) -> None:
    asked: type[PanelHistory] = History
    wanted = inspect.signature(getattr(PanelHistory, method)).parameters
    offered = inspect.signature(getattr(asked, method)).parameters
    assert {name: wanted[name].default for name in wanted} == {name: offered[name].default for name in wanted}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_only_names(clickhouse: ClickHouse, name: str) -> None:
    other = a_result("other", features=[a_feature("other")])
    result = a_result(
        name, features=[a_feature(name, drifted=True)], slice="", warnings=[Warning(name, name, START_MS, 1.0, 2.0)]
    )
    await _write(clickhouse, rows_of_results([other, result]))
    await _write(clickhouse, rows_of_alert(_alert(name, 1, "open", name)))
    history = History(clickhouse)
    assert await history.results(name, feature=name) == [result]
    assert [each.model for each in await history.models()] == [name, "other"]
    assert [each.feature for each in await history.model(name)] == [name]
    assert {point.test for point in await history.feature(name, name)} == {"psi", "ks"}
    assert [each.counts for each in await history.distributions(name, name)] == [[3, 0, 7]]
    assert [each.detector for each in await history.warnings(name)] == [name]
    assert [each.episode_id for each in await history.alerts(model=name)] == [name]
    assert len(await history.episode(name)) == 1


async def test_the_series_of_a_feature_is_limited_and_oldest_first(clickhouse: ClickHouse) -> None:
    await _write(clickhouse, rows_of_results([a_result(hour=hour) for hour in range(10)]))
    history = History(clickhouse)
    points = await history.feature("credit-risk", "income", START_MS + 2 * HOUR_MS, limit=6)
    assert [point.window_start for point in points] == [START_MS + hour * HOUR_MS for hour in (7, 7, 8, 8, 9, 9)]
    assert points[1]._asdict() | {"test": "psi", "line": 0.04, "effect": 0.21} == points[1]._asdict()
    shown = await history.distributions("credit-risk", "income", START_MS + 8 * HOUR_MS)
    assert [each.window_start for each in shown] == [START_MS + 8 * HOUR_MS, START_MS + 9 * HOUR_MS]


async def test_windows_are_chosen_by_half_open_range(clickhouse: ClickHouse) -> None:
    results = [a_result(hour=hour) for hour in range(5)]
    await _write(clickhouse, rows_of_results(results))
    chosen = await History(clickhouse).results(
        "credit-risk", start_ms=START_MS + HOUR_MS, end_ms=START_MS + 3 * HOUR_MS
    )
    assert chosen == results[1:3]


async def test_the_latest_state_is_of_the_newest_window(clickhouse: ClickHouse) -> None:
    calm = [a_result(hour=hour) for hour in range(3)]
    wide = a_result(hour=-2, scale=5)
    drifted = a_result("other", hour=7, features=[a_feature("a"), a_feature("b", drifted=True)])
    replayed = a_result("credit-risk", hour=9, run_id="replay-1")
    await _write(clickhouse, rows_of_results([*calm, wide, drifted, replayed]))
    history = History(clickhouse)
    first, second = await history.models()
    assert (first.model, first.state, first.n_drifted, first.severity) == ("other", "drift", 1, "moderate")
    assert (second.model, second.state, second.window_start, second.severity) == (
        "credit-risk",
        "ok",
        START_MS + 2 * HOUR_MS,
        "",
    )
    assert {(each.model, each.scale, each.window_start) for each in await history.latest()} == {
        ("credit-risk", 1, calm[2].window_start),
        ("credit-risk", 5, wide.window_start),
        ("other", 1, drifted.window_start),
    }
    assert [(each.feature, each.effect, each.line) for each in await history.model("other")] == [
        ("b", 0.21, 0.04),
        ("a", 0.21, 0.04),
    ]


async def test_a_feature_that_left_a_later_revision_is_not_shown(clickhouse: ClickHouse) -> None:
    await _write(clickhouse, rows_of_result(a_result(features=[a_feature("a"), a_feature("b")])))
    revised = a_result(revision=2, features=[a_feature("a")])
    await _write(clickhouse, rows_of_result(revised), 1)
    assert await History(clickhouse).results("credit-risk") == [revised]


async def test_alerts_are_shown_in_their_newest_state(clickhouse: ClickHouse) -> None:
    states = [
        _alert("e1", 1, "open"),
        _alert("e1", 2, "acknowledged"),
        _alert("e2", 1, "open"),
        _alert("e1", 10, "resolved"),
    ]
    for n, state in enumerate(states):
        await _write(clickhouse, rows_of_alert(state), n)
    history = History(clickhouse)
    assert await history.alerts() == [states[3], states[2]]
    assert await history.alerts(state="open") == [states[2]]
    assert await history.alerts(model="nobody") == []
    assert await history.episode("e1") == [states[0], states[1], states[3]]


async def test_a_warning_seen_at_two_scales_is_listed_once(clickhouse: ClickHouse) -> None:
    warning = Warning("income", "adwin", START_MS + 5, 1.0, 2.0)
    await _write(clickhouse, rows_of_results([a_result(warnings=[warning], scale=scale) for scale in (1, 5)]))
    assert len(await History(clickhouse).warnings()) == 1
    assert await History(clickhouse).warnings(since_ms=START_MS + 6) == []


async def test_the_newest_prediction_of_an_id_is_found(clickhouse: ClickHouse) -> None:
    column = Column(np.array([0.25, 0.5, np.nan]), np.array([-1, -1, 0], np.int32), ("yes",))
    await _write(clickhouse, rows_of_batch(a_batch(column, ids=["a'b", "a'b", "c"]), "drift.events.v1", 0))
    found = {
        each.id: each for each in await History(clickhouse).predictions("credit-risk", ["a'b", "c", "unknown", ""])
    }
    assert (found["a'b"].number, found["a'b"].time) == (0.5, START_MS + 1)
    assert (found["c"].number, found["c"].label) == (None, "yes")
    assert len(found) == 2


async def test_the_newest_feedback_by_time_wins_across_months(clickhouse: ClickHouse) -> None:
    for offset, (time, value) in enumerate([(START_MS + 40 * 24 * HOUR_MS, 1.0), (START_MS, 0.0)]):
        message = feedback_messages.encode(feedback_messages.Feedback("m", time, "label", value, id="a"))
        await _write(clickhouse, rows_of_feedback(feedback_messages.decode_message(message, offset=offset)[0]), offset)
    assert await clickhouse.query("SELECT value_number FROM feedback FINAL") == [(1.0,)]


async def test_a_broker_that_forgot_is_given_the_newest_records(clickhouse: ClickHouse) -> None:
    value = bytes(range(256))
    records = [
        PlainRecord("drift.monitors.v1", 0, 7, START_MS, b"old", b"m/1"),
        PlainRecord("drift.monitors.v1", 0, 8, START_MS, b"gone", b"m/2"),
        PlainRecord("drift.monitors.v1", 0, 9, START_MS + 1, None, b"m/2"),
        PlainRecord("drift.monitors.v1", 0, 0, START_MS + 2, value, b"m/1"),
        PlainRecord("drift.baselines.v1", 0, 1, START_MS, b"other topic", b"m/1"),
    ]
    for n, record in enumerate(reversed(records)):
        await _write(clickhouse, rows_of_control([record]), n)
    assert await History(clickhouse).control("drift.monitors.v1") == [(b"m/1", value)]
