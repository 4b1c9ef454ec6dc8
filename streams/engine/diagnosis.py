"""Why no broker lets us in, in words that name the setting: the libraries say only that something timed out."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from confluent_kafka import KafkaError

from streams import tls
from streams.settings import Settings

REFUSED = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})
HANDSHAKE_S = 3.0
_NOISE = re.compile(r"^\S+?/(bootstrap|\d+): | \(after \d+ms in state \w+\).*$|error:[0-9A-F]+:SSL routines::")


class Verdict(Enum):
    """What trying again would bring."""

    REFUSED = "the same until a setting is changed"
    FAULTY = "the same until somebody else mends something"
    SILENT = "an answer, as soon as a broker is up"


class Explained(NamedTuple):
    """What happened, what to do about it, and what trying again would bring."""

    why: str
    fix: str
    verdict: Verdict


def explain(settings: Settings, errors: Sequence[KafkaError]) -> Explained:
    """Return the most telling of what librdkafka reported, with the setting to mend."""
    telling = [error for error in errors if error.code() in REFUSED]
    said = [error for error in errors if error.code() not in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)]
    error = (telling or said or list(errors))[0]
    text = _NOISE.sub("", error.str())
    if error.code() == KafkaError._AUTHENTICATION:
        return _authentication(settings, text)
    if settings.security_protocol.endswith("SSL"):
        return _encrypted(settings, text)
    return _open(settings, text)


def _authentication(settings: Settings, text: str) -> Explained:
    protocol = f"({settings.security_protocol}, {settings.sasl_mechanism})"
    if "Unsupported SASL mechanism" in text:
        fix = f"DRIFTGAUGE_SASL_MECHANISM: choose one it takes: {text.rpartition('mechanisms: ')[2]}"
        return Explained(f"takes no {settings.sasl_mechanism}", fix, Verdict.REFUSED)
    if "Failed to acquire SASL OAUTHBEARER token" in text:
        why = f"was not asked, {settings.oauth_token_url} gave no token: {text.partition('token: ')[2]}"
        if "invalid_client" in text or "unauthorized" in text:
            fix = "Check DRIFTGAUGE_OAUTH_CLIENT_ID and DRIFTGAUGE_OAUTH_CLIENT_SECRET"
            return Explained(why, fix, Verdict.REFUSED)
        return Explained(why, "Check DRIFTGAUGE_OAUTH_TOKEN_URL and DRIFTGAUGE_OAUTH_CA_FILE", Verdict.FAULTY)
    if settings.sasl_mechanism == "OAUTHBEARER":
        fix = "Check DRIFTGAUGE_OAUTH_SCOPE and the client's audience and issuer, which the broker expects"
        return Explained(f"refuses the token {protocol}: {text}", fix, Verdict.REFUSED)
    fix = "Check DRIFTGAUGE_SASL_USERNAME, DRIFTGAUGE_SASL_PASSWORD and DRIFTGAUGE_SASL_MECHANISM"
    return Explained(f"refuses the user {settings.sasl_username!r} {protocol}: {text}", fix, Verdict.REFUSED)


def _encrypted(settings: Settings, text: str) -> Explained:
    if "alert" in text:  # what the broker thinks of our certificate
        fix = "DRIFTGAUGE_SSL_CERT_FILE: it is missing, expired, or of a CA that the broker does not trust"
        return Explained(f"refuses our certificate: {text}", fix, Verdict.REFUSED)
    answer = _handshake(settings, tls.context(settings))
    if isinstance(answer, ssl.SSLCertVerificationError):
        said = answer.verify_message.rstrip(".")
        if "expired" in said or "not yet valid" in said:
            fix = "Renew the broker's certificate, or set this machine's clock"
            return Explained(f"shows a bad certificate: {said}", fix, Verdict.FAULTY)
        if "mismatch" in said:
            fix = "DRIFTGAUGE_BOOTSTRAP_SERVERS: use a name that stands in the certificate"
            return Explained(f"shows a certificate for another name: {said}", fix, Verdict.REFUSED)
        fix = "DRIFTGAUGE_SSL_CA_FILE: name the CA that signed the broker's certificate"
        return Explained(f"shows a certificate that cannot be verified: {said}", fix, Verdict.REFUSED)
    if isinstance(answer, ssl.SSLError) or (isinstance(answer, OSError) and "PLAINTEXT" in text):
        return Explained("speaks no TLS there", _protocol(settings), Verdict.FAULTY)  # or it is ending
    if answer is None:  # a broker under load, or a listener that wants SASL where we offer none
        fix = f"It is overloaded, or DRIFTGAUGE_SECURITY_PROTOCOL {settings.security_protocol} is not what it speaks"
        return Explained(f"takes the connection and does not answer: {text}", fix, Verdict.SILENT)
    return Explained(f"does not answer: {text}", "Check DRIFTGAUGE_BOOTSTRAP_SERVERS", Verdict.SILENT)


def _open(settings: Settings, text: str) -> Explained:
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    if _handshake(settings, unchecked) is None:
        return Explained("speaks TLS there", _protocol(settings), Verdict.REFUSED)
    fix = f"Check DRIFTGAUGE_BOOTSTRAP_SERVERS and DRIFTGAUGE_SECURITY_PROTOCOL ({settings.security_protocol})"
    return Explained(f"does not answer: {text}", fix, Verdict.SILENT)


def _protocol(settings: Settings) -> str:
    return f"DRIFTGAUGE_SECURITY_PROTOCOL: {settings.security_protocol} is not what this listener speaks"


def _handshake(settings: Settings, context: ssl.SSLContext) -> OSError | None:
    """Try TLS with the first server; None when it worked."""
    host, _, port = settings.bootstrap_servers.split(",")[0].strip().rpartition(":")
    host = host.strip("[]")
    try:
        with (
            socket.create_connection((host, int(port)), HANDSHAKE_S) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return None
    except OSError as error:
        return error
