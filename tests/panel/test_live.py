"""The hub: what it keeps, whom it tells, whom it drops."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streams.panel.live import Hub, Message, Subscriber
from tests.panel.story import episode, one_result


async def drain(subscriber: Subscriber) -> list[Message]:
    """Return every message that waits."""
    found = []
    while (message := await subscriber.next(0.01)) is not None:
        found.append(message)
    return found


async def test_a_subscriber_hears_results_and_alerts_in_order() -> None:
    hub = Hub()
    subscriber = hub.subscribe()
    hub.publish(one_result("a", 0))
    hub.publish(episode("a", one_result("a", 1, verdict="drift"), "open", 1))
    assert [(m.kind, m.data["model"]) for m in await drain(subscriber)] == [("result", "a"), ("alert", "a")]


async def test_a_subscriber_of_one_model_does_not_hear_of_others() -> None:
    hub = Hub()
    subscriber = hub.subscribe(model="a")
    hub.publish(one_result("b"))
    hub.publish(one_result("a"))
    assert [m.model for m in await drain(subscriber)] == ["a"]


def test_a_higher_revision_replaces_and_a_lower_or_equal_one_is_ignored() -> None:
    hub = Hub()
    for revision in (2, 3, 3, 1):
        hub.publish(one_result("a", revision=revision))
    assert [result.revision for result in hub.results(("a", "", 1))] == [3]
    assert hub.last_id.endswith("-2")


def test_what_is_said_beside_the_counts_may_change_at_the_same_revision() -> None:
    hub = Hub()
    hub.publish(one_result("a", revision=3))
    hub.publish(replace(one_result("a", revision=3), flags=["state_lost"]))
    assert [result.flags for result in hub.results(("a", "", 1))] == [["state_lost"]]


def test_windows_come_back_oldest_first_whatever_order_they_came_in() -> None:
    hub = Hub()
    for window in (2, 0, 1):
        hub.publish(one_result("a", window))
    starts = [result.window_start for result in hub.results(("a", "", 1))]
    assert starts == sorted(starts)
    assert [result.window_start for result in hub.newest()] == [starts[-1]]


def test_what_comes_back_is_what_was_published() -> None:
    hub = Hub()
    result = one_result("a", verdict="drift", features=("x", "</script>", "é/ü"))
    hub.publish(result)
    assert hub.results(("a", "", 1)) == [result]


def test_memory_is_bounded_and_the_oldest_heard_leave_first() -> None:
    hub = Hub(memory_bytes=5_000)
    for window in range(200):
        hub.publish(one_result("a", window))
    held = hub.results(("a", "", 1))
    assert hub.held_bytes <= 5_000
    assert held[-1] == one_result("a", 199)
    assert 0 < len(held) < 50


def test_episodes_are_bounded_and_only_a_later_state_replaces() -> None:
    hub = Hub(n_episodes=3)
    for window in range(5):
        hub.publish(episode("a", one_result("a", window, verdict="drift"), "open", 2))
    hub.publish(episode("a", one_result("a", 4, verdict="drift"), "resolved", 1))
    assert [alert.state for alert in hub.alerts()] == ["open"] * 3


def test_another_run_is_kept_apart() -> None:
    hub = Hub()
    hub.publish(one_result("a", run_id="replay-1"))
    assert list(hub.newest()) == []
    assert [result.run_id for result in hub.results(("a", "", 1), "replay-1")] == ["replay-1"]


async def test_a_slow_subscriber_is_dropped_with_one_reset_and_others_go_on() -> None:
    hub = Hub(n_queued=4)
    slow, quick = hub.subscribe(), hub.subscribe()
    heard = []
    for window in range(10):
        hub.publish(one_result("a", window))
        heard += await drain(quick)
    assert slow.dropped
    assert hub.n_subscribers == 1
    assert [message.kind for message in heard] == ["result"] * 10
    reset = await slow.next(0.01)
    assert reset is not None
    assert reset.kind == "reset"
    with pytest.raises(StopAsyncIteration):
        await slow.next(0.01)


async def test_a_dropped_subscriber_that_comes_back_with_the_id_of_its_reset_misses_nothing() -> None:
    hub = Hub(n_queued=2)
    slow = hub.subscribe()
    for window in range(3):
        hub.publish(one_result("a", window))
    reset = await slow.next(0.01)
    assert reset is not None
    hub.publish(one_result("a", 3))
    missed = await drain(hub.subscribe(reset.id))
    assert [(m.kind, m.data["window_start"]) for m in missed] == [("result", one_result("a", 3).window_start)]


async def test_a_returning_subscriber_hears_exactly_what_it_missed() -> None:
    hub = Hub()
    hub.publish(one_result("a", 0))
    seen = hub.last_id
    for window in (1, 2):
        hub.publish(one_result("a", window))
    missed = await drain(hub.subscribe(seen))
    assert [m.data["window_start"] for m in missed] == [one_result("a", w).window_start for w in (1, 2)]


@pytest.mark.parametrize(
    "last_id", ["feedbeef-3", "nonsense", "", "-1", "{instance}-99", "{instance}-" + "9" * 400, "☃-1"]
)
async def test_an_id_the_hub_cannot_go_on_from_gets_a_reset(last_id: str) -> None:
    hub = Hub()
    hub.publish(one_result("a"))
    messages = await drain(hub.subscribe(last_id.replace("{instance}", hub.last_id.rpartition("-")[0])))
    assert [message.kind for message in messages] == ["reset"]


async def test_what_was_missed_for_too_long_is_a_reset() -> None:
    hub = Hub(n_replayable=3)
    seen = hub.last_id
    for window in range(5):
        hub.publish(one_result("a", window))
    assert [message.kind for message in await drain(hub.subscribe(seen))] == ["reset"]


async def test_closing_the_hub_ends_every_subscription() -> None:
    hub = Hub()
    subscriber = hub.subscribe()
    hub.close()
    assert hub.n_subscribers == 0
    assert subscriber.dropped
