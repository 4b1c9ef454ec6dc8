"""One place turns the settings into what each Kafka library calls them."""

from __future__ import annotations

import ssl
from typing import Any

import aiokafka
import faust
from aiokafka.admin import AIOKafkaAdminClient

from streams.settings import Settings


def librdkafka(settings: Settings) -> dict[str, Any]:
    """Return the connection settings for confluent-kafka."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "broker.address.family": "v4",
    }
    if settings.ssl_ca_file:
        config["ssl.ca.location"] = str(settings.ssl_ca_file)
    if settings.ssl_cert_file:
        config["ssl.certificate.location"] = str(settings.ssl_cert_file)
        config["ssl.key.location"] = str(settings.ssl_key_file or settings.ssl_cert_file)
    if settings.security_protocol.startswith("SASL"):
        config["sasl.mechanism"] = settings.sasl_mechanism
        config["sasl.username"] = settings.sasl_username
        config["sasl.password"] = _password(settings)
    return config


def reader(settings: Settings, **options: Any) -> aiokafka.AIOKafkaConsumer:
    """Return a consumer without a group, for positioned reads."""
    positioned = {"enable_auto_commit": False, "auto_offset_reset": "none", "group_id": None}
    return aiokafka.AIOKafkaConsumer(**(_aiokafka(settings) | positioned | options))


def admin(settings: Settings) -> AIOKafkaAdminClient:
    """Return an admin client on the running loop."""
    return AIOKafkaAdminClient(**_aiokafka(settings))


def _aiokafka(settings: Settings) -> dict[str, Any]:
    config: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol != "PLAINTEXT":
        config["ssl_context"] = _ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = settings.sasl_mechanism
        config["sasl_plain_username"] = settings.sasl_username
        config["sasl_plain_password"] = _password(settings)
    return config


def credentials(settings: Settings) -> Any:
    """Return Faust's credentials, None for a plain connection."""
    if settings.security_protocol == "PLAINTEXT":
        return None
    if settings.security_protocol == "SSL":
        return faust.SSLCredentials(_ssl_context(settings))
    return faust.SASLCredentials(
        username=settings.sasl_username,
        password=_password(settings),
        mechanism=settings.sasl_mechanism,
        ssl_context=_ssl_context(settings) if settings.security_protocol == "SASL_SSL" else None,
    )


def _password(settings: Settings) -> str:
    return settings.sasl_password.get_secret_value() if settings.sasl_password else ""


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    ca = str(settings.ssl_ca_file) if settings.ssl_ca_file else None
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    if settings.ssl_cert_file:
        context.load_cert_chain(str(settings.ssl_cert_file), str(settings.ssl_key_file or settings.ssl_cert_file))
    return context
