"""What is wrong with TLS or SASL is said within seconds, with the setting to mend and without a secret."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest

from streams.engine import preflight
from streams.settings import Settings
from tests.kafka.secured import CLIENT_SECRET, PASSWORD, SecuredKafka

SOON_S = 20.0

CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "wrong password": ("SCRAM-SHA-512", {"sasl_password": "x"}, "'worker'.*DRIFTGAUGE_SASL_PASSWORD"),
    "wrong password, plain": ("PLAIN", {"sasl_password": "x"}, "'worker'.*DRIFTGAUGE_SASL_PASSWORD"),
    "wrong mechanism": (
        "SCRAM-SHA-512", {"bootstrap_servers": "{plain_only}"}, "DRIFTGAUGE_SASL_MECHANISM: .*PLAIN"
    ),
    "wrong CA": ("PLAIN", {"ssl_ca_file": "{folder}/other-ca.pem"}, "DRIFTGAUGE_SSL_CA_FILE"),
    "expired certificate of the broker": ("PLAIN", {"bootstrap_servers": "{expired}"}, "has expired.*Renew"),
    "another name": ("PLAIN", {"bootstrap_servers": "localhost:{port}"}, "'localhost'.*DRIFTGAUGE_BOOTSTRAP_SERVERS"),
    "no certificate": ("mTLS", {"ssl_cert_file": None}, "DRIFTGAUGE_SSL_CERT_FILE"),
    "expired certificate": ("mTLS", {"ssl_cert_file": "{folder}/expired-client.pem"}, "DRIFTGAUGE_SSL_CERT_FILE"),
    "wrong client secret": ("OAUTHBEARER", {"oauth_client_secret": "x"}, "DRIFTGAUGE_OAUTH_CLIENT_SECRET"),
    "no token endpoint": (
        "OAUTHBEARER", {"oauth_token_url": "http://127.0.0.1:9/t"}, "DRIFTGAUGE_OAUTH_TOKEN_URL"
    ),
    "no TLS": ("PLAIN", {"security_protocol": "SASL_PLAINTEXT", "ssl_ca_file": None}, "DRIFTGAUGE_SECURITY_PROTOCOL"),
    "TLS where there is none": ("PLAIN", {"bootstrap_servers": "{open}"}, "DRIFTGAUGE_SECURITY_PROTOCOL"),
}  # fmt: skip


ELSEWHERE = {"expired certificate of the broker", "no token endpoint", "TLS where there is none"}


def _environment(secured: SecuredKafka, case: str) -> tuple[dict[str, str], str]:
    way, changes, named = CASES[case]
    known = {
        "folder": secured.folder, "expired": secured.expired, "plain_only": secured.plain_only,
        "open": secured.bootstrap_servers, "port": secured.sasl.rpartition(":")[2],
    }  # fmt: skip
    filled = {name: value and value.format(**known) for name, value in changes.items()}
    return secured.way(way, **filled), named


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_named_within_seconds(
    secured: SecuredKafka, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "REFUSED_AFTER_S", 0.7)
    settings, named = _environment(secured, case)
    started = time.monotonic()
    with pytest.raises(preflight.PreflightError, match=f"(?s){named}") as refused:
        preflight.existing(Settings(**settings))  # type: ignore[arg-type]  # text, as from the environment
    assert time.monotonic() - started < SOON_S
    mended_elsewhere = case in ELSEWHERE
    assert isinstance(refused.value, preflight.UnreachableError if mended_elsewhere else preflight.RefusedError)
    assert PASSWORD not in str(refused.value)
    assert CLIENT_SECRET not in str(refused.value)


def test_a_role_ends_with_that_sentence_and_exit_code_2(secured: SecuredKafka) -> None:
    settings, _ = _environment(secured, "wrong password")
    ended = subprocess.run(
        [sys.executable, "-m", "streams.roles", "detect"],
        env={**os.environ, **secured.environment(settings), "DRIFTGAUGE_LOG_LEVEL": "DEBUG"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "DRIFTGAUGE_SASL_PASSWORD" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert PASSWORD not in ended.stdout + ended.stderr
