"""TLS as the settings describe it, and what of it cannot work."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.settings import Settings

WORDS = {
    "NO_CERTIFICATE_OR_CRL_FOUND": "it holds no PEM certificate",
    "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
}


def context(settings: Settings) -> ssl.SSLContext:
    """Return how TLS connections to the brokers are made and what they are checked against.

    Raises
    ------
    ssl.SSLError
        When a file cannot be used; `wrong` says it in words.
    """
    made = ssl.create_default_context(cafile=str(settings.ssl_ca_file) if settings.ssl_ca_file else None)
    if settings.ssl_cert_file:
        password = settings.ssl_key_password.get_secret_value() if settings.ssl_key_password else ""
        # a password is always given: without one OpenSSL would ask the terminal
        made.load_cert_chain(settings.ssl_cert_file, settings.ssl_key_file or settings.ssl_cert_file, password)
    return made


def wrong(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each setting of TLS that cannot work, and why; files that are not there are left out."""
    ca_file, cert_file = settings.ssl_ca_file, settings.ssl_cert_file
    key_file = settings.ssl_key_file or cert_file
    if settings.ssl_key_file is not None and cert_file is None:
        yield "ssl_key_file", "it needs DRIFTGAUGE_SSL_CERT_FILE beside it"
    for field in ("ssl_ca_file", "oauth_ca_file"):
        path = getattr(settings, field)
        if path is not None and path.is_file():
            try:
                ssl.create_default_context(cafile=str(path))
            except (ssl.SSLError, OSError) as error:
                yield field, f"{path}: {_words(error)}"
    if cert_file is not None and key_file is not None and cert_file.is_file() and key_file.is_file():
        try:
            context(settings.model_copy(update={"ssl_ca_file": None}))
        except (ssl.SSLError, OSError) as error:
            which = "ssl_key_file" if settings.ssl_key_file else "ssl_cert_file"
            why = _words(error, "no PEM key, or one that needs another DRIFTGAUGE_SSL_KEY_PASSWORD")
            yield which, f"{key_file}: {why}"
    if (ca_file or cert_file) and not settings.security_protocol.endswith("SSL"):
        field = "ssl_ca_file" if ca_file else "ssl_cert_file"
        yield field, f"it has no effect with {settings.security_protocol}; set DRIFTGAUGE_SECURITY_PROTOCOL"


def _words(error: OSError, otherwise: str = "it holds no PEM certificate") -> str:
    if isinstance(error, ssl.SSLError):
        return WORDS.get(error.reason or "", otherwise)
    return error.strerror or type(error).__name__
