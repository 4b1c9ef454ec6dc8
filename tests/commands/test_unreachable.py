"""Systems that are down and settings that are wrong: exit codes 3 and 2, and a text that names the fix."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.engine import preflight
from tests.commands.conftest import Run
from tests.engine.running import Cluster, free_port


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait twenty seconds for a broker that is not there."""
    monkeypatch.setattr(preflight, "TIMEOUT_S", 1.0)


@pytest.mark.parametrize(
    "command",
    ["topics create", "topics check", "baseline list", "baseline show m@1", "baseline promote m@1", "monitor list",
     "monitor show m", "run detect", "replay --model m", "dead list"],
)  # fmt: skip
def test_a_broker_that_is_down_is_exit_code_3(run: Run, command: str) -> None:
    shown = run(*command.split())
    assert shown.code == 3, shown
    assert "DRIFTGAUGE_BOOTSTRAP_SERVERS" in shown.err
    assert "Traceback" not in shown.err


def test_a_store_that_is_down_is_exit_code_3(run: Run) -> None:
    shown = run("alerts", "list", DRIFTGAUGE_CLICKHOUSE_URL=f"http://127.0.0.1:{free_port()}")
    assert shown.code == 3
    assert "ClickHouse" in shown.err


def test_without_a_store_both_ways_out_are_named(run: Run) -> None:
    shown = run("alerts", "list")
    assert shown.code == 2
    assert "DRIFTGAUGE_CLICKHOUSE_URL" in shown.err
    assert "driftgauge[embedded]" in shown.err.replace("\\", "")


@pytest.mark.parametrize("role", ["store", "panel"])
def test_a_role_without_its_store_names_both_ways_out(
    embedded_cluster: Callable[..., Cluster], on: Callable[..., Run], role: str
) -> None:
    shown = on(embedded_cluster())("run", role)
    assert shown.code == 2, shown
    assert "DRIFTGAUGE_CLICKHOUSE_URL" in shown.err
    assert "driftgauge[embedded]" in shown.err.replace("\\", "")


def test_a_wrong_setting_is_exit_code_2(run: Run) -> None:
    shown = run("topics", "check", DRIFTGAUGE_PARTITIONS="many")
    assert shown.code == 2
    assert "DRIFTGAUGE_PARTITIONS" in shown.err


def test_the_doctor_finds_everything_down(run: Run) -> None:
    shown = run(
        "doctor", "--json", "--timeout", "1",
        DRIFTGAUGE_CLICKHOUSE_URL=f"http://127.0.0.1:{free_port()}",
        DRIFTGAUGE_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        DRIFTGAUGE_TRACES_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        DRIFTGAUGE_SLACK_WEBHOOK_URL=f"http://127.0.0.1:{free_port()}/very-secret",
        DRIFTGAUGE_BIND="0.0.0.0",
    )  # fmt: skip
    assert shown.code == 3
    found = {line["system"]: line for line in shown.json}
    states = {system: line["state"] for system, line in found.items()}
    assert states == {
        "Kafka": "unreachable", "topics": "unknown", "ClickHouse": "unreachable", "Slack": "unreachable",
        "OTLP": "unreachable", "traces": "unreachable", "panel": "wrong",
    }  # fmt: skip
    assert "DRIFTGAUGE_BOOTSTRAP_SERVERS" in found["Kafka"]["what to do"]
    assert "DRIFTGAUGE_CLICKHOUSE_URL" in found["ClickHouse"]["what to do"]
    assert "DRIFTGAUGE_TRACES_ENDPOINT" in found["traces"]["what to do"]
    assert "DRIFTGAUGE_SLACK_WEBHOOK_URL" in found["Slack"]["what to do"]
    assert "very-secret" not in shown.out + shown.err
    assert "DRIFTGAUGE_PANEL_TOKEN" in found["panel"]["what to do"]


class _Collector(BaseHTTPRequestHandler):
    """An OTLP endpoint for who knows the key."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["key"] == "k3y" and self.path == "/v1/traces"
        self.send_response(200 if known else 401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[str]:
    """The address of an OTLP endpoint."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_doctor_finds_everything_up_and_shows_no_secret(
    embedded_cluster: Callable[..., Cluster], on: Callable[..., Run], store: EmbeddedClickHouse, collector: str
) -> None:
    doctor = on(
        embedded_cluster(),
        DRIFTGAUGE_CLICKHOUSE_URL=store.url,
        DRIFTGAUGE_OTLP_ENDPOINT=collector,
        DRIFTGAUGE_OTLP_HEADERS='{"key": "k3y"}',
        DRIFTGAUGE_TRACES_ENDPOINT=collector,
        DRIFTGAUGE_SLACK_WEBHOOK_URL=f"{collector}/services/very-secret",
        DRIFTGAUGE_PANEL_PORT=str(free_port()),
    )
    shown = doctor("doctor", "--json", "--role", "detect")
    found = {line["system"]: line for line in shown.json}
    assert {system: line["state"] for system, line in found.items()} == {
        "Kafka": "ok", "topics": "ok", "mapped topics": "not set", "rights of detect": "ok",
        "ClickHouse": "ok", "Slack": "ok", "OTLP": "ok", "traces": "wrong", "panel": "ok",
    }  # fmt: skip
    assert "DRIFTGAUGE_TRACES_HEADERS" in found["traces"]["what to do"]
    assert shown.code == 2
    assert "very-secret" not in shown.out + shown.err
    assert "k3y" not in shown.out + shown.err


def test_the_doctor_finds_another_program_on_the_panels_port(run: Run, collector: str) -> None:
    shown = run("doctor", "--json", "--timeout", "1", DRIFTGAUGE_PANEL_PORT=collector.rpartition(":")[2])
    found = {line["system"]: line for line in shown.json}
    assert found["panel"]["state"] == "wrong"
    assert "DRIFTGAUGE_PANEL_PORT" in found["panel"]["what to do"]


def test_the_doctor_names_missing_topics(run: Run, embedded_broker: Callable[..., object]) -> None:
    broker = embedded_broker({"drift.events.v1": 2})
    address = broker.bootstrap_servers  # type: ignore[attr-defined]  # the fixture's broker has one
    shown = run("doctor", "--json", DRIFTGAUGE_BOOTSTRAP_SERVERS=address, DRIFTGAUGE_EMBEDDED="true")
    assert shown.code == 2
    found = {line["system"]: line["what to do"] for line in shown.json}
    assert "drift.results.v1" in found["topics"]
    assert "driftgauge topics create" in found["topics"]
    assert run("topics", "check", DRIFTGAUGE_BOOTSTRAP_SERVERS=address).code == 2


def test_a_file_that_is_not_there_is_exit_code_2(run: Run, tmp_path: Path) -> None:
    missing = tmp_path / "none.parquet"
    shown = run("replay", str(missing), "--reference", str(missing))
    assert shown.code == 2
    assert "none.parquet" in shown.err


def test_without_chdb_the_embedded_store_names_both_ways_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "without" / "chdb").mkdir(parents=True)
    (tmp_path / "without" / "chdb" / "__init__.py").write_text("raise ModuleNotFoundError('chdb', name='chdb')\n")
    path = [str(tmp_path / "without"), str(Path(__file__).parents[2])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    shown = run("run", "all", "--embedded", "--data", str(tmp_path / "data"))
    assert shown.code == 2, shown
    assert "driftgauge[embedded]" in shown.err.replace("\\", "")
    assert "DRIFTGAUGE_CLICKHOUSE_URL" in shown.err


def test_run_all_without_a_store_names_both_ways_out(run: Run) -> None:
    shown = run("run", "all")
    assert shown.code == 2
    assert "driftgauge[embedded]" in shown.err.replace("\\", "")
    assert "DRIFTGAUGE_CLICKHOUSE_URL" in shown.err
