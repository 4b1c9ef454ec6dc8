"""The client comes in through TLS and SASL with the variables of the roles, and says what is wrong without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from driftgauge_client import Client
from driftgauge_client.settings import SECURITY, read_settings

from streams.settings import Settings
from tests.brokers import eventually
from tests.client.support import Line
from tests.kafka.secured import CLIENT_SECRET, PASSWORD, USER, WAYS, SecuredKafka


def test_every_variable_of_the_roles_security_is_the_clients_too() -> None:
    prefixes = ("security_", "sasl_", "ssl_", "oauth_")
    assert set(SECURITY) == {name for name in Settings.model_fields if name.startswith(prefixes)}


@pytest.mark.parametrize("way", WAYS)
def test_rows_arrive_by_every_way_in(secured: SecuredKafka, way: str) -> None:
    line = Line.on(secured)
    secured.allow(USER, line.events_topic, ["WRITE"])
    secured.allow(USER, line.feedback_topic, ["WRITE"])
    given = secured.way(way)
    servers = given.pop("bootstrap_servers")
    settings = read_settings({"bootstrap_servers": servers}, secured.environment(given))
    client = Client(
        servers, kafka=dict(settings.kafka), events_topic=line.events_topic, feedback_topic=line.feedback_topic
    )
    client.log("m", {"x": 1}, id="a")
    assert client.flush(60)
    client.close()
    assert line.ids() == ["a"]
    secured.forbid(USER)


def test_a_refused_password_is_told_and_never_shown(secured: SecuredKafka, caplog: pytest.LogCaptureFixture) -> None:
    given = secured.way("PLAIN", sasl_password="wrong-" + PASSWORD)
    servers = given.pop("bootstrap_servers")
    settings = read_settings({"bootstrap_servers": servers}, secured.environment(given))
    client = Client(servers, kafka=dict(settings.kafka))
    client.log("m", {"x": 1})
    eventually(lambda: "Invalid username or password" in caplog.text)
    client.close(0)
    assert PASSWORD not in caplog.text + repr(client) + repr(settings)


def test_secrets_may_stand_in_the_folder_of_the_roles(tmp_path: Path) -> None:
    (tmp_path / "driftgauge_oauth_client_secret").write_text(f"{CLIENT_SECRET}\n")
    environment = {
        "DRIFTGAUGE_SECRETS_DIR": str(tmp_path),
        "DRIFTGAUGE_SECURITY_PROTOCOL": "SASL_SSL",
        "DRIFTGAUGE_SASL_MECHANISM": "OAUTHBEARER",
    }
    config = read_settings({"bootstrap_servers": "k:9092"}, environment).producer_config()
    assert config["sasl.oauthbearer.client.secret"] == CLIENT_SECRET
    assert config["sasl.oauthbearer.method"] == "oidc"


def test_what_is_given_to_kafkas_library_wins_over_the_shared_variables() -> None:
    environment = {
        "DRIFTGAUGE_SECURITY_PROTOCOL": "SSL",
        "DRIFTGAUGE_SSL_CERT_FILE": "/etc/cert.pem",
        "DRIFTGAUGE_KAFKA_SSL_KEY_LOCATION": "/etc/key.pem",
    }
    config = read_settings({"bootstrap_servers": "k:9092"}, environment).producer_config()
    assert config["ssl.certificate.location"] == "/etc/cert.pem"
    assert config["ssl.key.location"] == "/etc/key.pem"
    assert "sasl.mechanism" not in config
