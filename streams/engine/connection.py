"""One place turns the settings into what each Kafka library calls them."""

from __future__ import annotations

from typing import Any

import aiokafka
import faust
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr

from streams import tls
from streams.engine import tokens
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
    if settings.ssl_key_password:
        config["ssl.key.password"] = settings.ssl_key_password.get_secret_value()
    if not settings.security_protocol.startswith("SASL"):
        return config
    config["sasl.mechanism"] = settings.sasl_mechanism
    if settings.sasl_mechanism != "OAUTHBEARER":
        return config | {"sasl.username": settings.sasl_username, "sasl.password": _plain(settings.sasl_password)}
    config |= {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": settings.oauth_token_url,
        "sasl.oauthbearer.client.id": settings.oauth_client_id,
        "sasl.oauthbearer.client.secret": _plain(settings.oauth_client_secret),
    }
    if settings.oauth_scope:
        config["sasl.oauthbearer.scope"] = settings.oauth_scope
    if settings.oauth_ca_file:
        config["https.ca.location"] = str(settings.oauth_ca_file)
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
    if settings.security_protocol.endswith("SSL"):
        config["ssl_context"] = tls.context(settings)
    if settings.security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism == "OAUTHBEARER":
            config["sasl_oauth_token_provider"] = tokens.provider(settings)
        else:
            config["sasl_plain_username"] = settings.sasl_username
            config["sasl_plain_password"] = _plain(settings.sasl_password)
    return config


def credentials(settings: Settings) -> Any:
    """Return Faust's credentials, None for a plain connection."""
    if settings.security_protocol == "PLAINTEXT":
        return None
    context = tls.context(settings) if settings.security_protocol.endswith("SSL") else None
    if settings.security_protocol == "SSL":
        return faust.SSLCredentials(context)
    if settings.sasl_mechanism == "OAUTHBEARER":
        return faust.OAuthCredentials(oauth_cb=tokens.provider(settings), ssl_context=context)
    return faust.SASLCredentials(
        username=settings.sasl_username,
        password=_plain(settings.sasl_password),
        mechanism=settings.sasl_mechanism,
        ssl_context=context,
    )


def _plain(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
