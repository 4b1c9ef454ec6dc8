"""Crashes at every point where output, snapshot and commit can part change nothing but `produced_at`."""

from __future__ import annotations

import contextlib
import subprocess

import pytest

from schemas import topics
from tests.brokers import eventually
from tests.engine import traffic
from tests.engine.running import DIED, Cluster, eventually_equal, expected, newest

MODELS = ("alpha", "beta")
DETECT_POINTS = ("after_outputs", "between_chunks", "after_snapshot", "after_commit", "during_restore")
VARIED = ("after_outputs", "between_chunks")
"""Points that differ from the one after them only in what is repeated."""


def _dead_positions(cluster: Cluster) -> list[tuple[int, int]]:
    """Return (partition, offset) of the dead letters' origins, each once."""
    found = set()
    for record in cluster.records(topics.DEAD.name):
        headers = dict(record.headers)
        found.add((int(headers["__connect.errors.partition"]), int(headers["__connect.errors.offset"])))
    return sorted(found)


def test_live_results_equal_a_replay_of_the_same_offsets(cluster: Cluster) -> None:
    cluster.publish_baselines(MODELS)
    cluster.produce(traffic.messages(MODELS, n_partitions=2, minutes=12))
    wanted = expected(cluster, MODELS)
    worker = cluster.start("detect")
    eventually_equal(lambda: newest(cluster.results()), wanted, 60.0)
    assert cluster.stop(worker) == 0
    assert any(result.state == "drift" for result in wanted.values())
    assert [(alert.model, alert.state) for alert in cluster.alerts()][:1] == [("alpha", "open")]


@pytest.mark.scenario
@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=pytest.mark.long) if point in VARIED else point for point in DETECT_POINTS]
)
def test_a_killed_detect_changes_nothing(cluster: Cluster, point: str) -> None:
    cluster.publish_baselines(MODELS)
    messages = traffic.messages(MODELS, n_partitions=2, minutes=12)
    third = len(messages) // 3
    cluster.produce(messages[:third])
    if point == "during_restore":  # there has to be something to restore
        assert cluster.wait_dead(cluster.start("detect", "after_commit", 2)) == DIED, cluster.log("detect")
    assert cluster.wait_dead(cluster.start("detect", point, 2)) == DIED, cluster.log("detect")
    cluster.produce(messages[third : 2 * third])
    assert cluster.wait_dead(cluster.start("detect", point, 1)) == DIED, cluster.log("detect")
    cluster.produce(messages[2 * third :])
    wanted = expected(cluster, MODELS)
    worker = cluster.start("detect")
    eventually_equal(lambda: newest(cluster.results()), wanted, 90.0)
    broken = [
        m
        for m in messages
        if m.value is not None and m.value.startswith((b"{not", b'{"model":"x"}', b"\xff\xff\xff\xff\x00"))
    ]
    eventually(lambda: len(_dead_positions(cluster)) == len(broken), why="every broken message is one dead letter")
    states = {(alert.episode_id, alert.sequence, alert.state) for alert in cluster.alerts()}
    assert len({(episode, sequence) for episode, sequence, _ in states}) == len(states)
    assert cluster.stop(worker) == 0


@pytest.mark.scenario
def test_a_kill_with_records_taken_beyond_a_cut_changes_nothing(cluster: Cluster) -> None:
    cluster.publish_baselines(MODELS)
    messages = traffic.messages(MODELS, n_partitions=2, minutes=12)
    half, piece = len(messages) // 2, 20
    cluster.produce(messages[:half])
    worker = cluster.start("detect", "taken_on", 1)
    eventually(lambda: cluster.results() or worker.poll() is not None, 90.0)
    for start in range(half, len(messages), piece):  # so that there are records to take while a commit waits
        cluster.produce(messages[start : start + piece])
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(1.0)
    assert cluster.wait_dead(worker) == DIED, cluster.log("detect")
    worker = cluster.start("detect")
    eventually_equal(lambda: newest(cluster.results()), expected(cluster, MODELS), 90.0)
    assert cluster.stop(worker) == 0
