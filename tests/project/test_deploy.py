"""What is deployed is well-formed, pinned, closed to the network, and has no password in it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from schemas import topics
from streams import settings
from streams.probe import answers
from streams.roles import ROLES
from streams.sinks import metrics
from streams.sinks.metrics import PREFIX
from tests.kafka.server import version
from tests.real import require_real

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
OURS = ("topics", "detect", "store", "notify", "forward", "panel")
EXPECTED = {*OURS, "kafka", "clickhouse", "prometheus", "alertmanager", "grafana", "postgres", "phoenix", "minio"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return docker-compose.yml with its anchors resolved."""
    file: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return file


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Return a folder of generated passwords."""
    folder = tmp_path / "secrets"
    subprocess.run([DEPLOY / "docker" / "make-secrets", folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Remove every setting from the environment and step out of the project's folder."""
    for name in [name for name in os.environ if name.startswith("DRIFTGAUGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_compose_has_every_part(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == EXPECTED


def test_every_long_running_service_has_a_health_check_and_restarts(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if name != "topics":
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped", name


def test_every_published_port_is_on_loopback(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(published) >= 8
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published), published


def test_every_image_is_pinned_to_a_version(compose: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in compose["services"].items() if name not in OURS}
    loose = {name: image for name, image in images.items() if not re.search(r":\D*\d+[.\d-]*\.?\d+\S*$", image)}
    assert not loose


def test_compose_runs_the_kafka_version_the_tests_run_on(compose: dict[str, Any]) -> None:
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{version()}"


def test_no_password_stands_in_an_environment(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|TOKEN|SECRET|WEBHOOK", variable):
                assert value is None or str(value).startswith("/run/secrets"), f"{name}: {variable}"


def test_our_services_run_without_rights_on_a_read_only_disk(compose: dict[str, Any]) -> None:
    for name in OURS:
        service = compose["services"][name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "/var/run/docker.sock" not in str(service.get("volumes")), name


@pytest.mark.parametrize("name", OURS)
def test_each_role_starts_with_the_settings_compose_gives_it(
    name: str, compose: dict[str, Any], secrets: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    for variable, value in compose["services"][name]["environment"].items():
        if value is not None:
            clean_environment.setenv(variable, value)
    clean_environment.setenv("DRIFTGAUGE_SECRETS_DIR", str(secrets))
    loaded = settings.load()
    assert loaded.clickhouse_password.get_secret_value() == (secrets / "driftgauge_clickhouse_password").read_text()
    assert loaded.panel_token is not None
    assert loaded.panel_token.get_secret_value() == (secrets / "driftgauge_panel_token").read_text()
    assert loaded.bootstrap_servers == "kafka:9092"


def test_secrets_are_random_and_made_once(secrets: Path) -> None:
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    subprocess.run([DEPLOY / "docker" / "make-secrets", secrets], check=True, capture_output=True)
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before
    passwords = [text for name, text in before.items() if not name.endswith(".env")]
    assert len(set(passwords)) == len(passwords) == 5
    assert all(re.fullmatch(r"[0-9a-f]{48}", password) for password in passwords)
    assert before["phoenix.env"] == f"PHOENIX_POSTGRES_PASSWORD={before['postgres_password']}\n"
    assert secrets.stat().st_mode & 0o077 == 0


def test_docker_compose_accepts_the_file(secrets: Path, tmp_path: Path, clean_environment: pytest.MonkeyPatch) -> None:
    command = require_real("compose")
    project = tmp_path / "project"
    shutil.copytree(DEPLOY, project / "deploy", ignore=shutil.ignore_patterns("secrets"))
    shutil.copytree(secrets, project / "deploy" / "docker" / "secrets")
    shutil.copy(ROOT / "docker-compose.yml", project)
    clean_environment.setenv("DRIFTGAUGE_SLACK_WEBHOOK_URL", "http://127.0.0.1:9/hook")
    done = subprocess.run(
        [command, "--file", project / "docker-compose.yml", "config", "--format", "json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    resolved = json.loads(done.stdout)
    assert set(resolved["services"]) == EXPECTED
    assert resolved["services"]["notify"]["environment"]["DRIFTGAUGE_SLACK_WEBHOOK_URL"] == "http://127.0.0.1:9/hook"


def test_prometheus_accepts_its_settings_and_rules() -> None:
    promtool = require_real("promtool")
    for arguments in (["config", "--syntax-only", "prometheus.yml"], ["rules", "rules/driftgauge.yml"]):
        done = subprocess.run(
            [promtool, "check", *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_rules_fire_when_they_should_and_not_otherwise() -> None:
    promtool = require_real("promtool")
    done = subprocess.run(
        [promtool, "test", "rules", "rules_test.yml"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_accepts_its_settings() -> None:
    amtool = require_real("amtool")
    file = DEPLOY / "alertmanager" / "alertmanager.yml"
    done = subprocess.run([amtool, "check-config", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile_passes_its_linter() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "docker" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_image_runs_as_nobody_and_leaves_the_embedded_store_out() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert "USER 10001:10001" in text
    assert "--require-hashes" in text
    locked = (DEPLOY / "docker" / "requirements.lock").read_text(encoding="utf-8")
    assert "\nclickhouse-connect==" in locked
    assert "\nchdb" not in locked


def test_images_context_has_all_that_the_dockerfile_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    text = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        source for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for source in line.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_no_deployed_broker_creates_topics_by_itself() -> None:
    text = (DEPLOY / "kafka" / "server.properties").read_text(encoding="utf-8")
    assert "auto.create.topics.enable=false" in text
    assert not [topic.name for topic in topics.ALL if topic.name in text]


def test_board_has_its_queries_on_the_provisioned_source() -> None:
    board = json.loads((DEPLOY / "grafana" / "boards" / "driftgauge.json").read_text(encoding="utf-8"))
    sources = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    uids = {source["uid"] for source in sources["datasources"]}
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == uids
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(target["expr"] for panel in board["panels"] for target in panel["targets"])


def queries() -> list[str]:
    """Return every expression of the rules and the board."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules" / "driftgauge.yml").read_text(encoding="utf-8"))
    board = json.loads((DEPLOY / "grafana" / "boards" / "driftgauge.json").read_text(encoding="utf-8"))
    return [
        *(rule["expr"] for group in rules["groups"] for rule in group["rules"]),
        *(target["expr"] for panel in board["panels"] for target in panel["targets"]),
    ]


def test_rules_and_board_ask_for_metrics_and_labels_that_exist() -> None:
    labels_of = {PREFIX + metric.name: set(metric.labels) for metric in metrics.ALL}
    labels_of |= {f"{PREFIX}{metric.name}_bucket": {*metric.labels, "le"} for metric in metrics.ALL}
    for query in queries():
        names = re.findall(rf"\b{PREFIX}\w+", query)
        assert names or query.startswith("up{"), query
        assert set(names) <= set(labels_of), query
        for name, selector in re.findall(rf"\b({PREFIX}\w+)\{{([^}}]*)\}}", query):
            assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= labels_of[name], query
        asked = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
        assert asked <= {"job", "instance", "role"}.union(*(labels_of[name] for name in names)), query


async def test_probe_tells_an_answer_of_200_from_anything_else() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.path == "/readyz" else 503)

    app = web.Application()
    app.router.add_get("/{any}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        assert await asyncio.to_thread(answers, f"{address}/readyz")
        assert not await asyncio.to_thread(answers, f"{address}/other")
    finally:
        await runner.cleanup()
    assert not await asyncio.to_thread(answers, f"{address}/readyz")


def test_compose_probes_what_the_roles_serve(compose: dict[str, Any]) -> None:
    for name in OURS:
        service = compose["services"][name]
        if name != "topics":
            port = 8600 if name == "panel" else int(service["environment"]["DRIFTGAUGE_METRICS_PORT"])
            assert service["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}/readyz", name
    command = {name: compose["services"][name]["command"] for name in OURS if name != "topics"}
    assert command == {name: ["run", name] for name in OURS if name != "topics"}
    assert set(command) == set(ROLES)
