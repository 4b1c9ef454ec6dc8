"""A real broker with TLS, every SASL mechanism, client certificates and an authorizer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trustme
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from streams import permissions
from tests.brokers import Kafka
from tests.kafka.issuer import AUDIENCE, ISSUER, Issuer
from tests.kafka.server import JavaKafka, KafkaUnavailable, free_port, jars
from tests.real import command, missing

USER, STRANGER = "worker", "stranger"
PASSWORD = "pw-that-no-log-may-show"
CLIENT_SECRET = "secret-that-no-log-may-show"
WAYS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER", "mTLS")

_LOGIN = "org.apache.kafka.common.security"
_VALIDATOR = f"{_LOGIN}.oauthbearer.OAuthBearerValidatorCallbackHandler"
PROPERTIES = f"""
listeners=PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller_port}},SASL://127.0.0.1:@sasl@,\
MTLS://127.0.0.1:@mtls@,EXPIRED://127.0.0.1:@expired@,PLAINONLY://127.0.0.1:@plainonly@
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},SASL://127.0.0.1:@sasl@,MTLS://127.0.0.1:@mtls@,\
EXPIRED://127.0.0.1:@expired@,PLAINONLY://127.0.0.1:@plainonly@
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MTLS:SSL,EXPIRED:SASL_SSL,\
PLAINONLY:SASL_SSL
inter.broker.listener.name=PLAINTEXT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
ssl.truststore.type=PEM
ssl.truststore.location=@folder@/ca.pem
ssl.keystore.type=PEM
ssl.keystore.location=@folder@/server.pem
listener.name.expired.ssl.keystore.location=@folder@/expired.pem
listener.name.mtls.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^.*CN=([^,]+).*$/$1/,DEFAULT
listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.expired.sasl.enabled.mechanisms=PLAIN
listener.name.plainonly.sasl.enabled.mechanisms=PLAIN
listener.name.sasl.scram-sha-256.sasl.jaas.config={_LOGIN}.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config={_LOGIN}.scram.ScramLoginModule required;
listener.name.sasl.plain.sasl.jaas.config={_LOGIN}.plain.PlainLoginModule required @plain@;
listener.name.expired.plain.sasl.jaas.config={_LOGIN}.plain.PlainLoginModule required @plain@;
listener.name.plainonly.plain.sasl.jaas.config={_LOGIN}.plain.PlainLoginModule required @plain@;
listener.name.sasl.oauthbearer.sasl.jaas.config={_LOGIN}.oauthbearer.OAuthBearerLoginModule required \
unsecuredLoginStringClaim_sub="broker";
listener.name.sasl.oauthbearer.sasl.server.callback.handler.class={_VALIDATOR}
listener.name.sasl.oauthbearer.sasl.oauthbearer.jwks.endpoint.url=file://@folder@/jwks.json
listener.name.sasl.oauthbearer.sasl.oauthbearer.expected.audience={AUDIENCE}
listener.name.sasl.oauthbearer.sasl.oauthbearer.expected.issuer={ISSUER}
"""


def _pem(certificate: trustme.LeafCert) -> bytes:
    """Return key and chain; Java reads keys as PKCS 8 only."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pkcs8 + b"".join(part.bytes() for part in certificate.cert_chain_pems)


class SecuredKafka(Kafka):
    """`bootstrap_servers` is the open listener, for the tests themselves; `way` leads to the closed ones."""

    def __init__(self, folder: Path, java: str, jar_folder: Path) -> None:
        self.folder = folder
        self.issuer = Issuer({USER: CLIENT_SECRET, STRANGER: CLIENT_SECRET})
        self._certificates()
        (folder / "jwks.json").write_text(self.issuer.jwks())
        ports = {name: free_port() for name in ("sasl", "mtls", "expired", "plainonly")}
        self.sasl, self.mtls, self.expired, self.plain_only = (f"127.0.0.1:{port}" for port in ports.values())
        plain = " ".join(f'user_{name}="{PASSWORD}"' for name in (USER, STRANGER))
        properties = PROPERTIES
        for name, value in {**ports, "folder": folder, "plain": plain}.items():
            properties = properties.replace(f"@{name}@", str(value))
        allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{folder}/jwks.json"
        node = JavaKafka(folder, jar_folder, java, properties, [allowed])
        super().__init__(node.bootstrap_servers, node)
        self._root = AdminClient({"bootstrap.servers": node.bootstrap_servers, "log_level": 0})  # its futures need it
        self._users()

    def _certificates(self) -> None:
        ca, other = trustme.CA(), trustme.CA()
        past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        ca.cert_pem.write_to_path(self.folder / "ca.pem")
        other.cert_pem.write_to_path(self.folder / "other-ca.pem")
        made = {
            "server": ca.issue_cert("127.0.0.1", common_name="broker"),
            "expired": ca.issue_cert("127.0.0.1", common_name="broker", not_after=past),
            "client": ca.issue_cert(f"{USER}.test", common_name=USER),
            "expired-client": ca.issue_cert(f"{USER}.test", common_name=USER, not_after=past),
        }
        for name, certificate in made.items():
            (self.folder / f"{name}.pem").write_bytes(_pem(certificate))

    def _users(self) -> None:
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):  # one of a user in a request
            made: list[UserScramCredentialAlteration] = [
                UserScramCredentialUpsertion(name, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
                for name in (USER, STRANGER)
            ]
            for update in self._root.alter_user_scram_credentials(made).values():
                update.result(30)

    def allow_role(self, user: str, role: str, group_prefix: str = "driftgauge") -> None:
        """Give a user what a role needs by the table of permissions, and nothing else."""
        for topic, operations in permissions.TOPICS[role].items():
            self.allow(user, topic.name, operations)
        if (group := permissions.group_of(role, group_prefix)) is not None:
            self.allow(user, group, ["READ"], ResourceType.GROUP)

    def allow(self, user: str, name: str, operations: Sequence[str], kind: ResourceType = ResourceType.TOPIC) -> None:
        """Allow a user operations on one topic or group."""
        bindings = [
            AclBinding(
                kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", AclOperation[operation],
                AclPermissionType.ALLOW,
            )
            for operation in operations
        ]  # fmt: skip
        for made in self._root.create_acls(bindings).values():
            made.result(30)

    def forbid(self, user: str) -> None:
        """Take everything from a user."""
        anything = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{user}", None,  # type: ignore[arg-type]  # None: any
            AclOperation.ANY, AclPermissionType.ANY,
        )  # fmt: skip
        for deleted in self._root.delete_acls([anything]).values():
            deleted.result(30)

    def way(self, name: str, user: str = USER, **changes: Any) -> dict[str, str]:
        """Return the settings that lead in by one of `WAYS`, with changes."""
        settings: dict[str, Any] = {"ssl_ca_file": self.folder / "ca.pem"}
        if name == "mTLS":
            settings |= {"bootstrap_servers": self.mtls, "security_protocol": "SSL"}
            settings["ssl_cert_file"] = self.folder / "client.pem"
        else:
            settings |= {"bootstrap_servers": self.sasl, "security_protocol": "SASL_SSL", "sasl_mechanism": name}
            if name == "OAUTHBEARER":
                settings |= {"oauth_token_url": self.issuer.url, "oauth_client_id": user}
                settings["oauth_client_secret"] = CLIENT_SECRET
            else:
                settings |= {"sasl_username": user, "sasl_password": PASSWORD}
        return {key: str(value) for key, value in (settings | changes).items() if value is not None}

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return settings as the variables of a role."""
        return {f"DRIFTGAUGE_{name.upper()}": value for name, value in settings.items()}

    def close(self) -> None:
        """End the broker and the token endpoint."""
        super().close()
        self.issuer.close()


def start_secured(folder: Path) -> SecuredKafka:
    """Return a secured broker, or skip where there is no Java: somebody else's broker has other users."""
    java, maven = command("java"), command("mvn")
    if not java or not maven:
        missing("Apache Kafka with TLS", "install a Java runtime and Maven")
    try:
        return SecuredKafka(folder, java, jars(maven))
    except KafkaUnavailable as failed:
        missing("Apache Kafka with TLS", str(failed))
