"""Workers as child processes: what each is told, and how they end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli import app
from streams.settings import Settings
from streams.supervisor import Child, RoleRefused, Supervisor, Worker, workers_of
from tests.brokers import eventually


def test_workers_of_a_role_have_names_and_ports_of_their_own() -> None:
    made = workers_of(["panel", "detect"], Settings(panel_port=9000), {"detect": 3})
    assert [(worker.name, worker.port) for worker in made] == [
        ("panel", 9000), ("detect", 8601), ("detect-2", 8611), ("detect-3", 8621),
    ]  # fmt: skip
    assert made[0].environment == {"DRIFTGAUGE_PANEL_PORT": "9000"}
    assert made[2].environment == {"DRIFTGAUGE_METRICS_PORT": "8611"}


def test_workers_of_a_static_membership_have_names_of_their_own() -> None:
    made = workers_of(["detect"], Settings(group_instance_id="host-a"), {"detect": 2})
    assert [worker.environment["DRIFTGAUGE_GROUP_INSTANCE_ID"] for worker in made] == ["host-a-1", "host-a-2"]


def test_ports_of_workers_follow_the_setting() -> None:
    made = workers_of(["detect"], Settings(metrics_port=7000), {"detect": 2})
    assert [worker.port for worker in made] == [7000, 7010]


def test_a_worker_that_refuses_its_settings_is_not_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor([Worker("detect", "127.0.0.1", 1)], {"DRIFTGAUGE_CHECKPOINT_S": "-1"}, tmp_path)
    supervisor.start()
    process = supervisor.children[0].process
    assert process is not None
    process.wait(60)
    with pytest.raises(RoleRefused, match=r"detect cannot run with these settings; see .*detect\.log"):
        supervisor.watch()
    supervisor.stop()
    assert "DRIFTGAUGE_CHECKPOINT_S" in (tmp_path / "detect.log").read_text()


def test_a_worker_whose_brokers_are_away_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor(
        [Worker("notify", "127.0.0.1", 1)], {"DRIFTGAUGE_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, tmp_path
    )
    supervisor.start()

    def ended() -> bool:
        supervisor.watch()
        return "notify ended with code 3; starting it again" in caplog.text

    eventually(ended, 60)
    supervisor.stop()


def test_a_worker_ends_when_its_supervisor_dies() -> None:
    program = (
        "import sys, time\n"
        "from streams.roles.__main__ import end_with_parent\n"
        "end_with_parent()\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"up\n"
    worker.stdin.close()  # as the kernel does for a process that was killed
    assert worker.wait(30) == -signal.SIGTERM
    worker.stdout.close()


def test_restarts_of_a_worker_that_ends_soon_come_ever_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    child = Child(Worker("detect", "127.0.0.1", 1), {}, tmp_path / "log")
    for pause in ("0.5", "1.0", "2.0"):
        child.process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(70)"], stdin=subprocess.PIPE)
        child.process.wait(30)
        child._started = float("inf")
        child.watch()
        assert f"detect ended with code 70; starting it again in {pause} s" in caplog.text
        assert child.process is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "detekt"], "there is no role"),
        (["run", "detect", "--workers", "0"], "--workers"),
        (["run", "all", "--embedded", "--workers", "2"], "Kafka of your own"),
    ],
)
def test_a_wrong_call_says_what_is_right(arguments: list[str], words: str) -> None:
    made = CliRunner().invoke(app, arguments)
    assert made.exit_code == 2
    assert words in " ".join(made.output.replace("│", "").split())  # a narrow screen breaks the line anywhere
