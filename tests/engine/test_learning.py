"""A model nobody has configured: its first rows become a baseline, and each row after it counts once."""

from __future__ import annotations

import contextlib
import subprocess
from collections import Counter
from collections.abc import Iterator

import numpy as np
import orjson
import pytest

from schemas.monitors import Monitor
from schemas.results import Result
from tests.brokers import eventually
from tests.engine.running import DIED, PARTITIONS, Cluster, newest
from tests.engine.traffic import MINUTE_MS, START_MS, Message, columns
from tests.engine.workers import Workers

pytestmark = pytest.mark.scenario

MODEL = "unknown"
ROWS_A_MESSAGE = 50
MESSAGES_A_MINUTE = 6  # in each partition: 600 rows a minute in all, so that one-minute windows are chosen


class Traffic:
    """Rows of one unknown model in event-time order, minute by minute, and how many there truly were."""

    def __init__(self, shift_from_minute: int = 1_000) -> None:
        self.rows: Counter[int] = Counter()
        self._rng = np.random.default_rng(11)
        self._shift_from = shift_from_minute
        self.minute = 0

    def minutes(self, n_minutes: int) -> list[Message]:
        """Return the messages of the next minutes."""
        return [message for _ in range(n_minutes) for message in self._next()]

    def _next(self) -> Iterator[Message]:
        start = START_MS + self.minute * MINUTE_MS
        shift = 2.0 if self.minute >= self._shift_from else 0.0
        self.minute += 1
        for index in range(MESSAGES_A_MINUTE):
            for partition in range(PARTITIONS):
                slot = MINUTE_MS // MESSAGES_A_MINUTE
                times = start + index * slot + np.sort(self._rng.integers(0, slot, ROWS_A_MESSAGE))
                self.rows[start] += ROWS_A_MESSAGE
                value = {"model": MODEL, "times": times.tolist(), "columns": columns(self._rng, ROWS_A_MESSAGE, shift)}
                yield Message(partition, orjson.dumps(value), [])


def judged(cluster: Cluster) -> dict[int, Result]:
    """Return the newest revision of every base window by its start."""
    return {key[4]: result for key, result in newest(cluster.results()).items() if key[3] == 1}


def true_counts(traffic: Traffic, from_ms: int) -> dict[int, int]:
    """Return how many rows each window from the boundary on had, but the last."""
    last = START_MS + (traffic.minute - 1) * MINUTE_MS
    return {start: n for start, n in sorted(traffic.rows.items()) if from_ms <= start < last}


def counted(cluster: Cluster, traffic: Traffic) -> dict[int, int]:
    """Return how many rows each window but the last was judged from."""
    last = START_MS + (traffic.minute - 1) * MINUTE_MS
    return {start: r.rows + r.late_rows for start, r in sorted(judged(cluster).items()) if start < last}


def wait_for_counts(cluster: Cluster, traffic: Traffic, from_ms: int, timeout_s: float = 60.0) -> None:
    """Wait until every window from the boundary on, but the last, has exactly its rows."""
    wanted = true_counts(traffic, from_ms)
    try:
        eventually(lambda: counted(cluster, traffic) == wanted, timeout_s)
    except AssertionError:
        found = counted(cluster, traffic)
        wrong = [(start, wanted.get(start), found.get(start)) for start in sorted({*wanted, *found})]
        wrong = [(start, truth, n) for start, truth, n in wrong if truth != n]
        raise AssertionError(f"(window, rows, counted) from {from_ms}: {wrong}\n{cluster.log('detect')}") from None


def boundary_of(cluster: Cluster) -> int | None:
    """Return from when the learned baseline holds, None before there is one."""
    eras = cluster.catalogue().eras(MODEL)
    return eras[0].start_ms if eras else None


def test_an_unknown_model_needs_no_configuration(cluster: Cluster) -> None:
    traffic = Traffic(shift_from_minute=25)
    cluster.produce(traffic.minutes(32))
    worker = cluster.start("detect")
    boundary = eventually(lambda: boundary_of(cluster), 60.0)
    assert boundary is not None
    catalogue = cluster.catalogue()
    era = catalogue.eras(MODEL)[0]
    assert era.baseline.window_ms == MINUTE_MS
    assert era.baseline.provisional
    assert era.baseline.rows >= 10_000
    assert era.baseline.last_ms < boundary
    assert boundary % MINUTE_MS == 0
    assert set(era.baseline.features) == {"age", "income", "ratio", "city"}
    assert era.monitor == Monitor(model=MODEL)
    wait_for_counts(cluster, traffic, boundary)
    assert any(result.state == "drift" for result in judged(cluster).values()), "the shift is judged and shown"
    assert cluster.alerts() == [], "nobody is paged by a provisional baseline"
    assert cluster.stop(worker) == 0


def _produce_over_the_hand_over(cluster: Cluster, traffic: Traffic) -> int:
    """Produce, while a worker runs, until rows were forwarded and others counted; return the boundary."""
    boundary = None
    while boundary is None:
        cluster.produce(traffic.minutes(1))
        boundary = boundary_of(cluster)
        assert traffic.minute < 400, cluster.log("detect")
    for _ in range(20):
        cluster.produce(traffic.minutes(1))
    return boundary


def test_each_row_counts_once_over_the_hand_over(cluster: Cluster) -> None:
    cluster.publish_monitor(Monitor(model=MODEL, learn_rows=2_000, idle_s=3.0))
    traffic = Traffic()
    worker = cluster.start("detect")
    boundary = _produce_over_the_hand_over(cluster, traffic)
    eventually(lambda: len(judged(cluster)) > 3, why="windows are judged")
    cluster.produce(traffic.minutes(10))  # by now the first stage counts
    wait_for_counts(cluster, traffic, boundary)
    assert {"learning", "events"} == {source.split(".")[1] for source in _sources(cluster)}, "both have counted rows"
    assert cluster.stop(worker) == 0


def _sources(cluster: Cluster) -> set[str]:
    from schemas import evidence, topics

    messages = [evidence.decode(r.value) for r in cluster.records(topics.EVIDENCE.name) if r.value]
    return {m.source for m in messages if isinstance(m, evidence.Partial) and any(w.rows for w in m.windows)}


@pytest.mark.parametrize("point", ["after_snapshot", pytest.param("after_commit", marks=pytest.mark.long)])
def test_kills_around_the_hand_over_count_no_row_twice(cluster: Cluster, point: str) -> None:
    cluster.publish_monitor(Monitor(model=MODEL, learn_rows=2_000, idle_s=3.0))
    traffic = Traffic()
    cluster.produce(traffic.minutes(12))
    boundary = None
    n_kills = 0
    while boundary is None or n_kills < 4:
        assert cluster.wait_dead(cluster.start("detect", point, 2 + n_kills)) == DIED, cluster.log("detect")
        n_kills += 1
        cluster.produce(traffic.minutes(3))
        boundary = boundary_of(cluster)
        assert n_kills < 12, cluster.log("detect")
    worker = cluster.start("detect")
    cluster.produce(traffic.minutes(5))
    wait_for_counts(cluster, traffic, boundary, 90.0)
    assert cluster.stop(worker) == 0


def test_a_kill_between_the_decision_to_count_and_its_commit_counts_no_row_twice(cluster: Cluster) -> None:
    cluster.publish_monitor(Monitor(model=MODEL, learn_rows=2_000, idle_s=3.0))
    traffic = Traffic()
    cluster.produce(traffic.minutes(12))
    for _ in range(2):
        worker = cluster.start("detect", "after_decision", 1)
        while worker.poll() is None:  # it decides with a checkpoint, and that needs records
            cluster.produce(traffic.minutes(1))
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(2.0)
            assert traffic.minute < 200, cluster.log("detect")
        assert worker.returncode == DIED, cluster.log("detect")
    boundary = boundary_of(cluster)
    assert boundary is not None, "it is because of a baseline that a worker begins to count"
    worker = cluster.start("detect")
    cluster.produce(traffic.minutes(5))
    wait_for_counts(cluster, traffic, boundary, 90.0)
    assert cluster.stop(worker) == 0


@pytest.mark.kafka
def test_two_workers_learn_as_one(kafka_cluster: Cluster) -> None:
    cluster = kafka_cluster
    cluster.publish_monitor(Monitor(model=MODEL, learn_rows=2_000, idle_s=3.0))
    traffic = Traffic()
    workers = Workers(cluster)
    workers.add()
    workers.add()
    boundary = None
    while boundary is None:
        cluster.produce(traffic.minutes(1))
        workers.watch()
        boundary = boundary_of(cluster)
        assert traffic.minute < 400, cluster.log("detect")
    for _ in range(10):
        cluster.produce(traffic.minutes(1))
    workers.until(lambda: len(judged(cluster)) > 3)
    cluster.produce(traffic.minutes(5))
    workers.until(lambda: counted(cluster, traffic) == true_counts(traffic, boundary), 90.0)
    workers.stop()
