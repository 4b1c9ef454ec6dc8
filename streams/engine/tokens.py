"""OAUTHBEARER for aiokafka: tokens for client credentials, asked for once and again before they end.

librdkafka does the same by itself. The endpoint is asked in a thread, because Faust's consumer has an event loop of
its own and shares the token with the readers on ours.

Source: RFC 6749, section 4.4.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from aiokafka.abc import AbstractTokenProvider

from streams.settings import Settings

TIMEOUT_S = 10.0
REFRESH_AT = 0.8  # of a token's life
MAX_ANSWER_BYTES = 1 << 20


class TokenError(ConnectionError):
    """The endpoint gave no token; as an error of the connection it is tried again."""


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka carries no types
    """Keeps one token fresh for all connections of a process."""

    def __init__(self, url: str, client_id: str, secret: str, scope: str, ca_file: str) -> None:
        self._url, self._form = url, {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        self._basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()  # not quoted: as librdkafka does
        self._ca_file = ca_file
        self._lock = threading.Lock()
        self._token, self._refresh_at = "", 0.0

    async def token(self) -> str:
        """Return a token that is valid for a while.

        Raises
        ------
        TokenError
            When the endpoint gives none.
        """
        if time.monotonic() < self._refresh_at:
            return self._token
        return await asyncio.to_thread(self._refreshed)

    def _refreshed(self) -> str:
        with self._lock:
            if time.monotonic() >= self._refresh_at:
                asked = time.monotonic()
                answer = self._ask()
                self._token = str(answer["access_token"])
                self._refresh_at = asked + REFRESH_AT * float(answer.get("expires_in", 60))
            return self._token

    def _ask(self) -> dict[str, Any]:
        headers = {"Authorization": f"Basic {self._basic}", "Accept": "application/json"}
        request = urllib.request.Request(self._url, urlencode(self._form).encode(), headers)
        context = ssl.create_default_context(cafile=self._ca_file or None) if self._url.startswith("https:") else None
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as response:
                answer = json.loads(response.read(MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            error.close()
            raise TokenError(
                f"{self._url} answered {error.code}; check DRIFTGAUGE_OAUTH_CLIENT_ID and …_SECRET"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "reason", None) or type(error).__name__
            raise TokenError(f"{self._url}: {why}; check DRIFTGAUGE_OAUTH_TOKEN_URL") from None
        if not isinstance(answer, dict) or "access_token" not in answer:
            raise TokenError(f"{self._url} answered without an access_token; check DRIFTGAUGE_OAUTH_TOKEN_URL")
        return answer


_of = lru_cache(maxsize=4)(ClientCredentials)  # the same settings share one token


def provider(settings: Settings) -> ClientCredentials:
    """Return what gives aiokafka its tokens, the same for the same settings."""
    secret = settings.oauth_client_secret
    return _of(
        settings.oauth_token_url or "",
        settings.oauth_client_id or "",
        secret.get_secret_value() if secret else "",
        settings.oauth_scope,
        str(settings.oauth_ca_file or ""),
    )
