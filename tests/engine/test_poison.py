"""One record that makes a stage raise costs itself and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schemas import topics
from schemas.dead import DeadLetter, read_dead
from schemas.monitors import FeatureMonitor, Monitor
from streams.engine.app import EXIT_CRASHED
from streams.engine.pointer import Pointer
from tests.brokers import eventually
from tests.engine import traffic
from tests.engine.programs.poisoned import MARKER
from tests.engine.running import DIED, Cluster, committed, eventually_equal, expected, newest

MODELS = ("alpha",)
PROGRAM = "poisoned"


def _with_poison(n: int) -> tuple[list[traffic.Message], list[traffic.Message]]:
    """Return traffic, and the same with `n` poisonous records in the middle of partition 0."""
    good = traffic.messages(MODELS, n_partitions=2, minutes=6)
    half = len(good) // 2
    bad = b'{"model":"alpha","version":"1","time":%d,"features":{"age":1.0,"city":"%s"}}' % (traffic.START_MS, MARKER)
    message = traffic.Message(0, bad, [])
    return good, [*good[:half], *[message] * n, *good[half:]]


def _poisonous(cluster: Cluster) -> list[DeadLetter]:
    letters = [read_dead(record) for record in cluster.records(topics.DEAD.name)]
    return [letter for letter in letters if letter.reason == "poisonous"]


def _pointer(cluster: Cluster) -> Pointer:
    _, metadata = committed(cluster, "detect", topics.EVENTS.name, 0)
    pointer = Pointer.decode(metadata)
    assert pointer is not None, metadata
    return pointer


def test_a_poisonous_record_is_a_dead_letter_at_the_third_attempt(embedded_cluster: Callable[..., Cluster]) -> None:
    cluster = embedded_cluster()
    cluster.publish_baselines(MODELS)
    _, messages = _with_poison(1)
    cluster.produce(messages)
    offset = next(r.offset for r in cluster.records(topics.EVENTS.name) if r.value and MARKER in r.value)

    assert cluster.wait_dead(cluster.start("detect", program=PROGRAM)) == EXIT_CRASHED
    assert _pointer(cluster).attempts == 1
    assert _pointer(cluster).suspect > offset, "the culprit is one of the batch's"

    assert cluster.wait_dead(cluster.start("detect", program=PROGRAM)) == EXIT_CRASHED
    assert (_pointer(cluster).attempts, _pointer(cluster).suspect) == (2, offset), "it is found record by record"
    assert _poisonous(cluster) == []

    worker = cluster.start("detect", program=PROGRAM)
    letters = eventually(lambda: _poisonous(cluster), 60.0)
    assert [(letter.topic, letter.partition, letter.offset) for letter in letters] == [(topics.EVENTS.name, 0, offset)]
    assert MARKER in (letters[0].value or b"")
    wanted = expected(cluster, MODELS, without=lambda record: MARKER in (record.value or b""))
    eventually_equal(lambda: newest(cluster.results()), wanted, 60.0)
    eventually(lambda: _pointer(cluster).attempts == 0, why="what follows is no longer suspected")
    assert cluster.stop(worker) == 0


@pytest.mark.long
def test_two_poisonous_records_cost_two_records(embedded_cluster: Callable[..., Cluster]) -> None:
    cluster = embedded_cluster()
    cluster.publish_baselines(MODELS)
    cluster.publish_monitor(Monitor(model="secret", features={"name": FeatureMonitor(sensitive=True)}))
    cluster.produce(_with_poison(2)[1])
    wanted = expected(cluster, MODELS, without=lambda record: MARKER in (record.value or b""))
    for _ in range(4):
        assert cluster.wait_dead(cluster.start("detect", program=PROGRAM)) == EXIT_CRASHED, cluster.log("detect")
    worker = cluster.start("detect", program=PROGRAM)
    eventually_equal(lambda: newest(cluster.results()), wanted, 60.0)
    assert len({letter.offset for letter in _poisonous(cluster)}) == 2
    assert [letter.kept for letter in _poisonous(cluster) if letter.kept] == [], "some model's values may not be copied"
    assert cluster.stop(worker) == 0


def test_a_kill_is_no_attempt(embedded_cluster: Callable[..., Cluster]) -> None:
    cluster = embedded_cluster()
    cluster.publish_baselines(MODELS)
    _, messages = _with_poison(1)
    good = messages.index(next(m for m in messages if MARKER in (m.value or b"")))
    cluster.produce(messages[:good])
    assert cluster.wait_dead(cluster.start("detect", "after_commit", 3)) == DIED, cluster.log("detect")
    cluster.produce(messages[good:])
    for n_failures in (1, 2):
        assert cluster.wait_dead(cluster.start("detect", program=PROGRAM)) == EXIT_CRASHED, cluster.log("detect")
        before = _pointer(cluster)
        assert before.attempts == n_failures
        killed = cluster.start("detect", "during_restore", program=PROGRAM)
        assert cluster.wait_dead(killed) == DIED, cluster.log("detect")
        assert _pointer(cluster) == before
