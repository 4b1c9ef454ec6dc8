"""Settings: every wrong one is named with its variable, and no secret is ever shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from streams.settings import CONFIG_FILE, Settings, SettingsError, load

SECRET = "hunter2-very-secret"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test an environment and a folder without settings."""
    for name in [name for name in os.environ if name.upper().startswith("DRIFTGAUGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_nothing_has_to_be_set() -> None:
    settings = load()
    assert settings.bootstrap_servers == "127.0.0.1:9092"
    assert settings.bind == "127.0.0.1"
    assert settings.panel_address == "http://127.0.0.1:8600"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARTITIONS", "many"),
        ("PARTITIONS", "0"),
        ("REPLICATION", "10"),
        ("SESSION_TIMEOUT_S", "0.5"),
        ("CHECKPOINT_S", "0"),
        ("FLUSH_S", "-1"),
        ("MAX_FEATURES", "20001"),
        ("MAX_MODELS", "0"),
        ("EMBEDDED", "perhaps"),
        ("SECURITY_PROTOCOL", "TLS"),
        ("SASL_MECHANISM", "GSSAPI"),
        ("PANEL_PORT", "65536"),
        ("METRICS_PORT", "-1"),
        ("INSECURE", "2"),
        ("LOG_LEVEL", "chatty"),
        ("OTLP_HEADERS", "not json"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DRIFTGAUGE_{name}", value)
    with pytest.raises(SettingsError, match=f"DRIFTGAUGE_{name}"):
        load()


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTGAUGE_PARTITIONS", "many")
    monkeypatch.setenv("DRIFTGAUGE_LOG_LEVEL", "chatty")
    with pytest.raises(SettingsError) as wrong:
        load()
    lines = str(wrong.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["DRIFTGAUGE_PARTITIONS", "DRIFTGAUGE_LOG_LEVEL"]


@pytest.mark.parametrize("name", ["DRIFTGAUGE_PARTITION", "DRIFTGAUGE_KAFKA", "driftgauge_bootstrap"])
def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "8")
    with pytest.raises(SettingsError, match=f"{name.upper()}: there is no such setting"):
        load()


def test_an_unknown_variable_is_told_its_likely_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTGAUGE_BOOTSTRAP_SERVER", "broker:9092")
    with pytest.raises(SettingsError, match=r"DRIFTGAUGE_BOOTSTRAP_SERVERS\?"):
        load()


def test_the_clients_variables_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTGAUGE_CLIENT_LINGER_MS", "5")
    load()


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "DRIFTGAUGE_SASL_USERNAME"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "drift"}, "DRIFTGAUGE_SASL_PASSWORD"),
        ({"SSL_CA_FILE": "/nowhere/ca.pem"}, "DRIFTGAUGE_SSL_CA_FILE"),
        ({"SSL_KEY_FILE": "key.pem"}, "DRIFTGAUGE_SSL_KEY_FILE"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "OAUTHBEARER"}, "DRIFTGAUGE_OAUTH_TOKEN_URL"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "OAUTHBEARER"}, "DRIFTGAUGE_OAUTH_CLIENT_SECRET"),
        ({"OAUTH_TOKEN_URL": "http://issuer.example/token"}, "DRIFTGAUGE_OAUTH_TOKEN_URL: give an https"),
        ({"OAUTH_CA_FILE": "/nowhere/ca.pem"}, "DRIFTGAUGE_OAUTH_CA_FILE"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": __file__}, "DRIFTGAUGE_SSL_CA_FILE: .* no PEM certificate"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CERT_FILE": __file__}, "DRIFTGAUGE_SSL_CERT_FILE: .* no PEM key"),
        ({"BOOTSTRAP_SERVERS": "broker"}, "DRIFTGAUGE_BOOTSTRAP_SERVERS"),
        ({"BOOTSTRAP_SERVERS": ""}, "DRIFTGAUGE_BOOTSTRAP_SERVERS"),
        ({"CLICKHOUSE_URL": "127.0.0.1:8123"}, "DRIFTGAUGE_CLICKHOUSE_URL"),
        ({"OTLP_ENDPOINT": "phoenix:6006"}, "DRIFTGAUGE_OTLP_ENDPOINT"),
        ({"PANEL_URL": "drift.example"}, "DRIFTGAUGE_PANEL_URL"),
        ({"GROUP": ""}, "DRIFTGAUGE_GROUP"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], named: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"DRIFTGAUGE_{name}", value)
    with pytest.raises(SettingsError, match=named):
        load()


def _pems(folder: Path) -> tuple[Path, Path, Path]:
    """Write a CA, a certificate and an encrypted key; the key's password is SECRET."""
    ca = trustme.CA()
    leaf = ca.issue_cert("worker.test", key_type=trustme.KeyType.RSA)
    ca.cert_pem.write_to_path(folder / "ca.pem")
    leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(SECRET.encode()))
    (folder / "key.pem").write_bytes(locked)
    return folder / "ca.pem", folder / "cert.pem", folder / "key.pem"


def test_certificate_key_and_its_password_have_to_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ca, cert, key = _pems(tmp_path)
    monkeypatch.setenv("DRIFTGAUGE_SSL_CA_FILE", str(ca))
    with pytest.raises(SettingsError, match="DRIFTGAUGE_SSL_CA_FILE: it has no effect with PLAINTEXT"):
        load()
    for name, value in {"SECURITY_PROTOCOL": "SSL", "SSL_CERT_FILE": cert, "SSL_KEY_FILE": key}.items():
        monkeypatch.setenv(f"DRIFTGAUGE_{name}", str(value))
    for password in ("", "another"):
        monkeypatch.setenv("DRIFTGAUGE_SSL_KEY_PASSWORD", password)
        with pytest.raises(SettingsError, match=r"DRIFTGAUGE_SSL_KEY_FILE: .*DRIFTGAUGE_SSL_KEY_PASSWORD"):
            load()
    monkeypatch.setenv("DRIFTGAUGE_SSL_KEY_PASSWORD", SECRET)
    assert SECRET not in repr(load())
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("DRIFTGAUGE_SSL_CERT_FILE", str(_pems(tmp_path / "other")[1]))
    with pytest.raises(SettingsError, match="the key does not belong to the certificate"):
        load()


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = (
        "SASL_PASSWORD",
        "OAUTH_CLIENT_SECRET",
        "SSL_KEY_PASSWORD",
        "CLICKHOUSE_PASSWORD",
        "SLACK_WEBHOOK_URL",
        "PANEL_TOKEN",
    )
    for name in secrets:
        monkeypatch.setenv(f"DRIFTGAUGE_{name}", SECRET)
    monkeypatch.setenv("DRIFTGAUGE_OTLP_HEADERS", f'{{"api_key": "{SECRET}"}}')
    settings = load()
    assert settings.panel_token is not None
    assert settings.panel_token.get_secret_value() == SECRET
    for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in text


def test_a_wrong_value_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTGAUGE_OTLP_HEADERS", f'["{SECRET}"]')
    monkeypatch.setenv("DRIFTGAUGE_PARTITIONS", SECRET)
    with pytest.raises(SettingsError) as wrong:
        load()
    assert SECRET not in str(wrong.value)
    assert SECRET not in repr(wrong.value.__context__) or wrong.value.__suppress_context__


def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "driftgauge_panel_token").write_text(f"{SECRET}\n")
    monkeypatch.setenv("DRIFTGAUGE_SECRETS_DIR", str(folder))
    token = load().panel_token
    assert token is not None
    assert token.get_secret_value() == SECRET


def test_a_folder_of_secrets_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRIFTGAUGE_SECRETS_DIR", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="DRIFTGAUGE_SECRETS_DIR"):
        load()


def test_the_environment_wins_over_the_file_and_arguments_over_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "driftgauge.toml").write_text('partitions = 3\ngroup = "file"\nmax_models = 7\n')
    monkeypatch.setenv("DRIFTGAUGE_GROUP", "environment")
    monkeypatch.setenv("DRIFTGAUGE_MAX_MODELS", "8")
    settings = load(max_models=9)
    assert (settings.partitions, settings.group, settings.max_models) == (3, "environment", 9)


def test_another_file_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text("partitions = 5\n")
    monkeypatch.setenv(CONFIG_FILE, str(path))
    assert load().partitions == 5
    monkeypatch.setenv(CONFIG_FILE, str(tmp_path / "none.toml"))
    with pytest.raises(SettingsError, match=r"none\.toml"):
        load()


@pytest.mark.parametrize(
    ("text", "named"),
    [("partitions = \n", r"driftgauge\.toml"), ("partition = 3\n", "PARTITION"), ('partitions = "x"\n', "PARTITIONS")],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "driftgauge.toml").write_text(text)
    with pytest.raises(SettingsError, match=named):
        load()


def test_every_setting_has_a_default() -> None:
    assert [name for name, field in Settings.model_fields.items() if field.is_required()] == []
