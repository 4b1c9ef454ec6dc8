"""Settings from arguments and the environment, and the module's functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import driftgauge_client
import pytest
from driftgauge_client import Client, Settings, SettingsError
from driftgauge_client.notices import Notices
from driftgauge_client.settings import EVENTS_TOPIC, FEEDBACK_TOPIC, read_settings

from schemas import topics
from tests.client.support import NOWHERE, ROOT, Line


@pytest.fixture
def _bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither settings in the environment nor a client of the module's functions."""
    driftgauge_client.close(0)
    monkeypatch.delenv("DRIFTGAUGE_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setattr("driftgauge_client.default._n_refused", 0)
    monkeypatch.setattr("driftgauge_client.default._notices", Notices())
    yield
    driftgauge_client.close(0)


def test_defaults_are_those_of_the_contracts() -> None:
    assert (topics.EVENTS.name, topics.FEEDBACK.name) == (EVENTS_TOPIC, FEEDBACK_TOPIC)
    settings = read_settings({"bootstrap_servers": "k:9092"}, {})
    assert settings == Settings("k:9092")
    assert settings.buffer_bytes == 64 * 1024 * 1024
    assert settings.linger_ms == 100


def test_environment_is_read_and_arguments_win() -> None:
    environment = {
        "DRIFTGAUGE_BOOTSTRAP_SERVERS": "k:9092",
        "DRIFTGAUGE_EVENTS_TOPIC": "e",
        "DRIFTGAUGE_FEEDBACK_TOPIC": "f",
        "DRIFTGAUGE_BUFFER_BYTES": "8000000",
        "DRIFTGAUGE_LINGER_MS": "7",
        "DRIFTGAUGE_BATCH_ROWS": "9",
        "DRIFTGAUGE_KAFKA_CLIENT_ID": "service",
    }
    settings = read_settings({"batch_rows": 10, "kafka": {"client.id": "other"}}, environment)
    assert settings == Settings("k:9092", "e", "f", 8_000_000, 7, 10, {"client.id": "other"})


def test_secrets_come_from_files_and_are_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    environment = {
        "DRIFTGAUGE_BOOTSTRAP_SERVERS": "k:9092",
        "DRIFTGAUGE_KAFKA_SASL_PASSWORD_FILE": str(secret),
        "DRIFTGAUGE_KAFKA_SSL_KEY_PASSWORD": "hunter3",
        "DRIFTGAUGE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    }
    settings = read_settings({}, environment)
    config = settings.producer_config()
    assert config["sasl.password"] == "hunter2"
    assert config["ssl.key.password"] == "hunter3"
    assert config["security.protocol"] == "SASL_SSL"
    assert "hunter" not in repr(settings)


def test_a_client_never_shows_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    kafka = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "u"}
    kafka["sasl.password"] = "hunter2"
    client = Client(NOWHERE, kafka=kafka)
    client.log("m", {"x": 1})
    client.flush(0.5)
    client.close(0)
    assert "hunter2" not in repr(client) + str(client.settings) + caplog.text


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"bootstrap_servers": None}, "DRIFTGAUGE_BOOTSTRAP_SERVERS"),
    ({"bootstrap_servers": 9092}, "bootstrap_servers"),
    ({"buffer_bytes": 1_000}, "buffer_bytes"),
    ({"buffer_bytes": "much"}, "buffer_bytes"),
    ({"linger_ms": -1}, "linger_ms"),
    ({"batch_rows": True}, "batch_rows"),
    ({"batch_rows": 0}, "batch_rows"),
    ({"kafka": "acks=all"}, "kafka"),
    ({"kafka": {"error_cb": print}}, "error_cb"),
    ({"kafka": {"no.such.setting": 1}}, "no.such.setting"),
    ({"kafka": {"acks": "some"}}, "acks"),
    ({"kafka": {"acks": None}}, "acks"),
]


@pytest.mark.usefixtures("_bare")
@pytest.mark.parametrize(("arguments", "named"), IMPOSSIBLE, ids=[str(given) for given, _ in IMPOSSIBLE])
def test_impossible_settings_are_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Client(**{"bootstrap_servers": NOWHERE, **arguments})


@pytest.mark.usefixtures("_bare")
def test_functions_without_settings_never_raise(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        driftgauge_client.log("m", {"x": 1})
        driftgauge_client.feedback("m", id="a", value=1)
    assert driftgauge_client.stats().invalid == 4
    assert not driftgauge_client.flush()
    assert [record.message for record in caplog.records] == [
        "driftgauge: nothing is sent: bootstrap_servers: give it or set DRIFTGAUGE_BOOTSTRAP_SERVERS, "
        "for example kafka:9092"
    ]


@pytest.mark.usefixtures("_bare")
def test_functions_use_the_configured_client(line: Line) -> None:
    client = driftgauge_client.configure(**line.arguments())
    driftgauge_client.log("m", {"x": 1}, id="a")
    driftgauge_client.log_many("m", {"x": [1]}, ids=["b"])
    driftgauge_client.feedback("m", id="a", value=1)
    driftgauge_client.feedback_many("m", ids=["b"], values=[0])
    assert driftgauge_client.flush()
    assert driftgauge_client.stats() == client.stats()
    assert client.stats().delivered == 4
    assert line.ids() == ["a", "b"]
    assert line.feedback().id == ["a", "b"]


def test_every_setting_is_documented_with_its_default() -> None:
    readme = (ROOT / "client" / "README.md").read_text()
    for name, field in Settings.__dataclass_fields__.items():
        if name == "kafka":
            continue
        begins = f"| `{name}` | `DRIFTGAUGE_{name.upper()}` |"
        row = next(line for line in readme.splitlines() if line.startswith(begins))
        if name != "bootstrap_servers":
            assert f"`{field.default}`" in row
