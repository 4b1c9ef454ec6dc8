"""The faults benchmark for five minutes: nothing is lost or double, and a broken engine does not pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from benchmarks.faults import __main__ as faults
from benchmarks.faults.compare import Found
from benchmarks.faults.progress import Advance, takeovers
from benchmarks.faults.schedule import Fault, Schedule, draw, read, write
from tests.brokers import start_kafka

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 200
VERSIONS = ("apply", "promote")  # over a backlog, windows may be judged under the version before, unflagged
FIRST_SEED = int(os.environ.get("DRIFTGAUGE_TEST_SEED", "1"))
KILLS = Schedule(
    901, 0.5, 1,
    [Fault(10.0, "kill", role="detect"), Fault(14.0, "malformed", n=10), Fault(20.0, "kill", role="detect")],
)  # fmt: skip


def run(folder: Path, *arguments: str) -> tuple[int, dict[str, object], str]:
    """Run the command in a folder; return its exit code, its figures and what it printed."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}", "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    figures = folder / ".bench" / "faults.json"
    return done.returncode, orjson.loads(figures.read_bytes()) if figures.exists() else {}, done.stdout + done.stderr


@pytest.fixture
def kafka_possible(tmp_path: Path) -> None:
    """Skip, or fail in a strict run, where no broker can be started."""
    folder = tmp_path / "probe"
    folder.mkdir()
    start_kafka(folder).close()


@pytest.mark.kafka
@pytest.mark.scenario
@pytest.mark.timeout(WITHIN_S + 400)
@pytest.mark.usefixtures("kafka_possible")
def test_faults_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    arguments = ["--seed", str(FIRST_SEED), "--seeds", "1", "--within", str(WITHIN_S)]
    for kind in VERSIONS:
        arguments += ["--without", kind]
    code, figures, printed = run(tmp_path, *arguments)
    assert code == 0, printed[-6_000:]
    assert figures["rows_lost"] == figures["rows_double"] == figures["verdicts_different"] == 0
    assert isinstance(figures["rows"], int)
    assert figures["rows"] > 10_000


@pytest.mark.kafka
@pytest.mark.scenario
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("kafka_possible")
@pytest.mark.parametrize(
    ("defect", "figure"),
    [
        ("counts_again", "rows_double"),
        pytest.param("drops_outputs", "verdicts_different", marks=pytest.mark.long),
    ],
)
def test_a_broken_engine_is_caught(tmp_path: Path, defect: str, figure: str) -> None:
    schedule = tmp_path / "schedule.json"
    write(KILLS, schedule)
    code, figures, printed = run(tmp_path, "--schedule", str(schedule), "--broken", defect)
    assert code == 1, printed[-6_000:]
    assert figures[figure], printed[-6_000:]


def test_a_schedule_is_a_function_of_its_seed(tmp_path: Path) -> None:
    drawn = draw(5, 2.0)
    assert drawn == draw(5, 2.0) != draw(6, 2.0)
    write(drawn, tmp_path / "schedule.json")
    assert read(tmp_path / "schedule.json") == drawn


@pytest.mark.parametrize("seed", range(20))
def test_every_schedule_kills_and_stops_in_time(seed: int) -> None:
    schedule = draw(seed, 1.0)
    times = [fault.at_s for fault in schedule.faults]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 60
    kinds = {fault.kind for fault in schedule.faults}
    assert kinds >= {"kill", "stop", "term", "add", "remove", "broker", "clickhouse", "slack", "otlp", "malformed"}


def test_a_takeover_counts_from_the_last_disturbance_before_progress() -> None:
    advances = [Advance(0, 0.8, 1.0), Advance(0, 9.8, 10.0), Advance(1, 1.8, 2.0), Advance(0, 30.8, 31.0)]
    assert takeovers(advances, [1.5], [], []) == [8.5]
    assert takeovers(advances, [1.5], [6.0], []) == [4.0]
    assert takeovers(advances, [1.5], [], [(3.0, 5.0)]) == [], "the broker was down itself"
    assert takeovers(advances, [1.5, 20.0], [20.0], []) == [8.5, 11.0]


def test_figures_that_should_be_zero_fail_a_run() -> None:
    assert faults.failures(Found({"rows_lost": 0, "windows": 9}, takeovers=[3.0])) == []
    assert faults.failures(Found({"rows_lost": 1})) == ["rows_lost"]
    assert faults.failures(Found({}, takeovers=[faults.TAKEOVER_S + 1])) == ["takeover_max_s"]
    busy = Found({}, takeovers=[faults.TAKEOVER_S + 1], load_average=1_000.0)
    assert faults.failures(busy) == [], "a machine without time says nothing of take-overs"
