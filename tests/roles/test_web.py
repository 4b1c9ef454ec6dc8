"""A role's web server: figures for those who have the token, health for everybody, and never open by accident."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from streams.engine.app import build_app
from streams.engine.watchdog import ASLEEP_AFTER_S
from streams.panel.access import UnsafeBind
from streams.settings import Settings
from tests.brokers import eventually
from tests.engine.running import Cluster, free_port

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-this-test"


def _status(address: str, path: str, bearer: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer is not None else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, headers=headers), timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (urllib.error.URLError, TimeoutError, OSError):
        return 0


def test_figures_need_the_token_and_health_does_not(embedded_cluster: Callable[..., Cluster]) -> None:
    cluster = embedded_cluster(panel_token=TOKEN)
    port = free_port()
    worker = cluster.start("notify", DRIFTGAUGE_METRICS_PORT=str(port))
    address = f"http://127.0.0.1:{port}"
    eventually(lambda: _status(address, "/readyz") == 200, 60.0)
    assert _status(address, "/healthz") == 200
    assert _status(address, "/metrics", TOKEN) == 200
    assert [_status(address, "/metrics", given) for given in (None, "", "another", TOKEN + "x")] == [401] * 4
    assert cluster.stop(worker) == 0


def test_without_a_token_the_figures_are_open_on_this_machine(embedded_cluster: Callable[..., Cluster]) -> None:
    cluster = embedded_cluster()
    port = free_port()
    worker = cluster.start("notify", DRIFTGAUGE_METRICS_PORT=str(port))
    eventually(lambda: _status(f"http://127.0.0.1:{port}", "/metrics") == 200, 60.0)
    assert cluster.stop(worker) == 0


def test_a_role_does_not_listen_to_others_without_a_token() -> None:
    with pytest.raises(UnsafeBind, match="DRIFTGAUGE_PANEL_TOKEN"):
        build_app("detect", Settings(bind="0.0.0.0"), CollectorRegistry(), None, 8601)
    for allowed in (
        Settings(bind="0.0.0.0", panel_token=SecretStr(TOKEN)),
        Settings(bind="0.0.0.0", insecure=True),
        Settings(bind="::1"),
    ):
        build_app("detect", allowed, CollectorRegistry(), None, 8601)


def test_health_is_lost_when_the_watchdog_looks_no_more() -> None:
    watchdog = build_app("detect", Settings(), CollectorRegistry(), None, 8601).watchdog
    assert watchdog.awake(watchdog.looked + ASLEEP_AFTER_S - 1)
    assert not watchdog.awake(watchdog.looked + ASLEEP_AFTER_S + 1)


def test_a_role_that_may_not_listen_says_so_and_leaves_with_2(embedded_cluster: Callable[..., Cluster]) -> None:
    environment = {**os.environ, **embedded_cluster().environment, "DRIFTGAUGE_BIND": "0.0.0.0"}
    command = [sys.executable, "-m", "streams.roles", "detect"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "DRIFTGAUGE_PANEL_TOKEN" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_prometheus_sends_the_token_to_every_role() -> None:
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    sent = {job["job_name"]: job.get("authorization", {}).get("credentials_file", "") for job in jobs}
    assert sent["driftgauge"] == sent["panel"] == "/run/secrets/driftgauge_panel_token"
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for role in ("detect", "store", "notify", "forward", "panel", "prometheus"):
        assert "driftgauge_panel_token" in compose[role]["secrets"], role
