"""Every setting, once: environment ``DRIFTGAUGE_…`` first, then secrets, then ``driftgauge.toml``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as UnreadableValue

from streams import tls

CONFIG_FILE = "DRIFTGAUGE_CONFIG"


class SettingsError(Exception):
    """A setting is wrong; the text names it and the fix."""


class Settings(BaseSettings):
    """All settings of all roles. Environment variables are the names in capitals with the prefix.

    A secret may also stand in a file named like the variable in lower case, in the folder
    `DRIFTGAUGE_SECRETS_DIR`.
    """

    model_config = SettingsConfigDict(env_prefix="DRIFTGAUGE_", extra="forbid", validate_default=True)

    bootstrap_servers: str = Field(default="127.0.0.1:9092", description="Kafka brokers, host:port with commas between")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="of every Kafka connection"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        default="SCRAM-SHA-512", description="with SASL_PLAINTEXT and SASL_SSL"
    )
    sasl_username: str | None = Field(default=None, description="of SCRAM and PLAIN")
    sasl_password: SecretStr | None = Field(default=None, description="of SCRAM and PLAIN")
    oauth_token_url: str | None = Field(default=None, description="OAUTHBEARER: the token endpoint")
    oauth_client_id: str | None = Field(default=None, description="OAUTHBEARER: of the client credentials")
    oauth_client_secret: SecretStr | None = Field(default=None, description="OAUTHBEARER: of the client credentials")
    oauth_scope: str = Field(default="", description="OAUTHBEARER: scopes to ask for, spaces between")
    oauth_ca_file: Path | None = Field(default=None, description="CA of the token endpoint; the system's by default")
    ssl_ca_file: Path | None = Field(default=None, description="CA of the brokers, PEM; the system's by default")
    ssl_cert_file: Path | None = Field(default=None, description="our certificate (mTLS), PEM, with its chain")
    ssl_key_file: Path | None = Field(default=None, description="its key, PEM; by default in ssl_cert_file")
    ssl_key_password: SecretStr | None = Field(default=None, description="of an encrypted key")
    group: str = Field(default="driftgauge", description="prefix of the consumer groups, one group a role")
    partitions: int = Field(default=8, ge=1, le=1024, description="partitions of topics made by `topics create`")
    replication: int = Field(default=1, ge=1, le=9, description="replicas of topics made by `topics create`")
    session_timeout_s: float = Field(default=15.0, ge=1, le=300, description="after it a silent worker is replaced")
    group_instance_id: str | None = Field(
        default=None, description="static membership: a name of this worker alone, the same after a restart"
    )
    checkpoint_s: float = Field(default=10.0, gt=0, le=600, description="seconds between checkpoints")
    flush_s: float = Field(default=1.0, gt=0, le=60, description="seconds between partial results for display")
    max_features: int = Field(
        default=2_000, ge=1, le=20_000, description="features of a message; one with more becomes a dead letter"
    )
    max_models: int = Field(
        default=10_000, ge=1, description="models of one partition; rows of further ones become dead letters"
    )
    max_versions: int = Field(
        default=100, ge=1, le=10_000, description="versions of a model in one window; further ones count as one"
    )
    future_guard_s: float = Field(
        default=3_600.0,
        gt=0,
        le=3_600,
        description="how far an event may lie past its record's timestamp, at most one base window: else a dead letter",
    )
    embedded: bool = Field(default=False, description="the broker is the embedded one")

    clickhouse_url: str | None = Field(default=None, description="HTTP address, as http://127.0.0.1:8123")
    clickhouse_user: str = Field(default="default", description="of the store")
    clickhouse_password: SecretStr = Field(default=SecretStr(""), description="of the store")
    clickhouse_database: str = Field(default="driftgauge", description="made by `run store`")

    slack_webhook_url: SecretStr | None = Field(default=None, description="where alerts go; else they are only logged")
    otlp_endpoint: str | None = Field(default=None, description="OTLP/HTTP address spans are forwarded to")
    otlp_headers: dict[str, SecretStr] = Field(default={}, description="JSON: sent with forwarded spans")
    traces_endpoint: str | None = Field(default=None, description="OTLP/HTTP address for spans of the roles' own work")
    traces_headers: dict[str, SecretStr] = Field(default={}, description="JSON: sent with those spans")
    traces_sample: float = Field(default=0.1, ge=0, le=1, description="share of the batches taken that is traced")

    bind: str = Field(default="127.0.0.1", description="address of the panel and of every role's /metrics")
    panel_port: int = Field(default=8600, ge=0, le=65535, description="port of the panel")
    panel_url: str | None = Field(default=None, description="address of the panel as people reach it, for links")
    panel_token: SecretStr | None = Field(default=None, description="asked for by the panel and every /metrics")
    insecure: bool = Field(default=False, description="allow the panel on another address without a token")
    metrics_port: int = Field(default=0, ge=0, le=65535, description="port of /metrics; 0 takes the role's own")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="least to be logged")
    log_format: Literal["text", "json"] = Field(default="text", description="json: one object a line, with its place")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, secret files, the TOML file."""
        del dotenv_settings
        path = Path(os.environ.get(CONFIG_FILE, "driftgauge.toml"))
        toml = TomlConfigSettingsSource(settings_cls, path if path.exists() else None)
        return init_settings, env_settings, file_secret_settings, toml

    @property
    def panel_address(self) -> str:
        """The panel's address for links in messages."""
        return (self.panel_url or f"http://{self.bind}:{self.panel_port}").rstrip("/")


def load(**overrides: object) -> Settings:
    """Read the settings.

    Raises
    ------
    SettingsError
        With one line for each wrong setting: its variable, what is wrong with it, never a secret.
    """
    named = os.environ.get(CONFIG_FILE)
    if named and not Path(named).exists():
        raise SettingsError(f"{CONFIG_FILE}: there is no file {named}")
    secrets = os.environ.get(SECRETS_DIR)
    if secrets and not Path(secrets).is_dir():
        raise SettingsError(f"{SECRETS_DIR}: there is no folder {secrets}")
    if unknown := _unknown_variables():
        raise SettingsError("\n".join(unknown))
    try:
        settings = Settings(_secrets_dir=secrets, **overrides)  # type: ignore[call-arg, arg-type]  # pydantic's own
    except ValidationError as error:
        wrong = error.errors(include_input=False)
        lines = [f"{variable('_'.join(map(str, e['loc'])))}: {e['msg']}" for e in wrong]
        raise SettingsError("\n".join(lines)) from None
    except UnreadableValue as error:  # a list or mapping that is no JSON
        field = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), "")
        raise SettingsError(f'{variable(field)}: give JSON, as {{"name": "value"}}') from None
    except ValueError as error:
        raise SettingsError(f"{named or 'driftgauge.toml'}: {error}") from None
    if wrong_together := list(_unfit(settings)):
        raise SettingsError("\n".join(wrong_together))
    return settings


SECRETS_DIR = "DRIFTGAUGE_SECRETS_DIR"
NOT_SETTINGS = {CONFIG_FILE, SECRETS_DIR}
OAUTH = ("oauth_token_url", "oauth_client_id", "oauth_client_secret")
CLIENT_PREFIXES = ("DRIFTGAUGE_CLIENT_", "DRIFTGAUGE_TEST_", "DRIFTGAUGE_KAFKA_")
SERVER = re.compile(r"^(\[[0-9a-fA-F:]+\]|[^\s:,/]+):\d{1,5}$")


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return f"DRIFTGAUGE_{field.upper()}"


def _unfit(settings: Settings) -> Iterator[str]:
    """Say what is well-formed and cannot work."""
    for server in settings.bootstrap_servers.split(","):
        if not SERVER.match(server.strip()):
            yield f"{variable('bootstrap_servers')}: {server.strip()!r} is not host:port; put commas between several"
    if not settings.group.strip():
        yield f"{variable('group')}: it is empty; give a prefix for the consumer groups"
    for field in ("clickhouse_url", "otlp_endpoint", "traces_endpoint", "panel_url", "oauth_token_url"):
        url = getattr(settings, field)
        if url is not None and not re.match(r"^https?://[^\s/]", url):
            yield f"{variable(field)}: give an address that begins with http:// or https://"
    if settings.security_protocol.startswith("SASL"):
        oauth = settings.sasl_mechanism == "OAUTHBEARER"
        for field in OAUTH if oauth else ("sasl_username", "sasl_password"):
            if getattr(settings, field) is None:
                yield f"{variable(field)}: {settings.sasl_mechanism} needs it"
    if re.match(r"http://(?!(127\.0\.0\.1|localhost|\[::1\])[:/])", settings.oauth_token_url or ""):
        yield f"{variable('oauth_token_url')}: give an https:// address: the client secret is sent there"
    for field in ("ssl_ca_file", "ssl_cert_file", "ssl_key_file", "oauth_ca_file"):
        path = getattr(settings, field)
        if path is not None and not path.is_file():
            yield f"{variable(field)}: there is no file {path}"
    for field, why in tls.wrong(settings):
        yield f"{variable(field)}: {why}"


def _unknown_variables() -> list[str]:
    """Name the variables that look like settings and are none: a typing error would go unseen."""
    known = {variable(name) for name in Settings.model_fields} | NOT_SETTINGS
    names = (name.upper() for name in os.environ if name.upper().startswith("DRIFTGAUGE_"))
    return [
        f"{name}: there is no such setting{_suggested(name, known)}"
        for name in sorted(names)
        if name not in known and not name.startswith(CLIENT_PREFIXES)
    ]


def _suggested(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, 1, 0.9)
    return f"; did you mean {near[0]}?" if near else ""
