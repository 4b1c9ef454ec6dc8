"""What a client can be told, by arguments or by the environment, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

EVENTS_TOPIC = "drift.events.v1"
FEEDBACK_TOPIC = "drift.feedback.v1"
MIB = 1024 * 1024
MAX_MESSAGE_BYTES = 900_000
PREFIX = "DRIFTGAUGE_"
KAFKA_PREFIX = "DRIFTGAUGE_KAFKA_"

SECRETS_DIR = "DRIFTGAUGE_SECRETS_DIR"

KafkaValue = str | int | float | bool

SECURITY: Mapping[str, str] = MappingProxyType(
    {
        "security_protocol": "security.protocol",
        "sasl_mechanism": "sasl.mechanism",
        "sasl_username": "sasl.username",
        "sasl_password": "sasl.password",
        "oauth_token_url": "sasl.oauthbearer.token.endpoint.url",
        "oauth_client_id": "sasl.oauthbearer.client.id",
        "oauth_client_secret": "sasl.oauthbearer.client.secret",
        "oauth_scope": "sasl.oauthbearer.scope",
        "oauth_ca_file": "https.ca.location",
        "ssl_ca_file": "ssl.ca.location",
        "ssl_cert_file": "ssl.certificate.location",
        "ssl_key_file": "ssl.key.location",
        "ssl_key_password": "ssl.key.password",
    }
)
"""Variables that mean the same to driftgauge's roles, and what Kafka's library calls them."""
_SECRET = ("sasl_password", "oauth_client_secret", "ssl_key_password")

_LIMITS = {"buffer_bytes": (2 * MIB, 1 << 40), "linger_ms": (0, 60_000), "batch_rows": (1, 10_000)}
_OWN = frozenset({"error_cb", "dr_cb", "dr_msg_cb", "on_delivery", "logger", "log_cb", "stats_cb", "throttle_cb"})
_KAFKA_DEFAULTS: dict[str, KafkaValue] = {
    "client.id": "driftgauge-client",
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    "compression.type": "lz4",
    "linger.ms": 5,
    "message.max.bytes": 1_000_000,
    "message.timeout.ms": 0,  # a row leaves the memory when it is delivered or the process ends
    "reconnect.backoff.max.ms": 2_000,
    "topic.metadata.refresh.interval.ms": 30_000,  # until a topic made or opened meanwhile is seen
    "log_level": 2,
    "log.connection.close": False,
}


class SettingsError(ValueError):
    """A setting that cannot work; the text names it and says what to give instead."""


@dataclass(frozen=True)
class Settings:
    """The checked settings of one client; `kafka` may hold secrets and is never shown."""

    bootstrap_servers: str
    events_topic: str = EVENTS_TOPIC
    feedback_topic: str = FEEDBACK_TOPIC
    buffer_bytes: int = 64 * MIB
    linger_ms: int = 100
    batch_rows: int = 1_000
    kafka: Mapping[str, KafkaValue] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @property
    def message_bytes(self) -> int:
        """Return the size below which every message is kept."""
        return min(MAX_MESSAGE_BYTES, int(0.9 * float(self.kafka.get("message.max.bytes", 1_000_000))))

    @property
    def in_flight_bytes(self) -> int:
        """Return the part of the buffer that may lie in Kafka's library, waiting for the broker."""
        return max(self.buffer_bytes // 4, MIB)

    def producer_config(self) -> dict[str, str]:
        """Return librdkafka's settings: ours, then the user's.

        As text: while confluent-kafka converts other values a signal's exception, SystemExit say, would be lost.
        """
        settings = {
            **_KAFKA_DEFAULTS,
            "queue.buffering.max.kbytes": self.in_flight_bytes // 1024 + 2 * MAX_MESSAGE_BYTES // 1024,
            **self.kafka,
            "bootstrap.servers": self.bootstrap_servers,
        }
        return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in settings.items()}


def read_settings(given: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """Combine arguments (None: not given) with the environment; arguments win.

    Raises
    ------
    SettingsError
        When a setting is missing or impossible.
    """
    extra = given.get("kafka")
    if extra is not None and not isinstance(extra, Mapping):
        raise SettingsError("kafka: give a dict of librdkafka settings")
    kafka = {**_security_of(environment), **_kafka_of(environment), **(extra or {})}
    if own := _OWN & kafka.keys():
        raise SettingsError(f"kafka[{min(own)!r}]: the client sets its own callbacks; leave it out")
    for name, value in kafka.items():
        if not isinstance(value, (str, int, float)):
            raise SettingsError(f"kafka[{name!r}]: expected text, a number or a bool, got {type(value).__name__}")
    servers = _text("bootstrap_servers", given, environment, str(kafka.pop("bootstrap.servers", "")))
    if not servers:
        raise SettingsError("bootstrap_servers: give it or set DRIFTGAUGE_BOOTSTRAP_SERVERS, for example kafka:9092")
    return Settings(
        servers,
        _text("events_topic", given, environment, EVENTS_TOPIC),
        _text("feedback_topic", given, environment, FEEDBACK_TOPIC),
        **{name: _whole(name, given, environment) for name in _LIMITS},
        kafka=MappingProxyType(kafka),
    )


def _text(name: str, given: Mapping[str, object], environment: Mapping[str, str], default: str) -> str:
    value = given.get(name)
    if value is None:
        value = environment.get(PREFIX + name.upper()) or default
    if isinstance(value, (list, tuple)):
        value = ",".join(map(str, value))
    if not isinstance(value, str):
        raise SettingsError(f"{name}: expected text, got {type(value).__name__}")
    return value.strip()


def _whole(name: str, given: Mapping[str, object], environment: Mapping[str, str]) -> int:
    value = given.get(name)
    if value is None:
        value = environment.get(PREFIX + name.upper()) or Settings.__dataclass_fields__[name].default
    low, high = _LIMITS[name]
    try:
        number = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or not low <= number <= high:
        raise SettingsError(f"{name} ({PREFIX}{name.upper()}): expected a whole number from {low} to {high}")
    return number


def _security_of(environment: Mapping[str, str]) -> dict[str, KafkaValue]:
    """Return librdkafka settings for the variables the roles know as well, or the files they stand in."""
    given = {name: environment.get(PREFIX + name.upper(), "") or _secret_of(name, environment) for name in SECURITY}
    if given["ssl_cert_file"] and not given["ssl_key_file"]:
        given["ssl_key_file"] = given["ssl_cert_file"]
    settings: dict[str, KafkaValue] = {SECURITY[name]: value for name, value in given.items() if value}
    if settings and "SASL" in given["security_protocol"]:
        settings.setdefault("sasl.mechanism", "SCRAM-SHA-512")
        if settings["sasl.mechanism"] == "OAUTHBEARER":
            settings["sasl.oauthbearer.method"] = "oidc"
    return settings


def _secret_of(name: str, environment: Mapping[str, str]) -> str:
    folder = environment.get(SECRETS_DIR)
    if not folder or name not in _SECRET:
        return ""
    file = Path(folder) / f"{PREFIX}{name}".lower()
    try:
        return file.read_text().strip() if file.is_file() else ""
    except OSError as error:
        raise SettingsError(f"{SECRETS_DIR}: cannot read {file.name} ({error.strerror})") from None


def _kafka_of(environment: Mapping[str, str]) -> dict[str, KafkaValue]:
    """Return librdkafka settings: DRIFTGAUGE_KAFKA_SASL_PASSWORD is `sasl.password`, …_FILE names a file with it."""
    settings: dict[str, KafkaValue] = {}
    for variable, value in environment.items():
        if not variable.startswith(KAFKA_PREFIX) or not value:
            continue
        name = variable.removeprefix(KAFKA_PREFIX)
        if name.endswith(("PASSWORD_FILE", "SECRET_FILE")):
            name = name.removesuffix("_FILE")
            try:
                value = Path(value).read_text().strip()
            except OSError as error:
                raise SettingsError(f"{variable}: cannot read the file ({error.strerror})") from None
        settings[name.lower().replace("_", ".")] = value
    return settings
