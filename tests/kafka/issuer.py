"""A token endpoint for OAUTHBEARER: client credentials in, a signed token out, on 127.0.0.1."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AUDIENCE = "kafka"
ISSUER = "https://issuer.test"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Issuer:
    """Answers each of `clients` (id to secret) with a token that lasts `lifetime_s`; counts in `n_issued`."""

    def __init__(self, clients: dict[str, str], lifetime_s: float = 300.0) -> None:
        self.clients, self.lifetime_s, self.n_issued = clients, lifetime_s, 0
        self.scopes: list[str] = []
        self._key = rsa.generate_private_key(65537, 2048)
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                issuer._answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def jwks(self) -> str:
        """Return the public key as brokers read it."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": _number(numbers.n), "e": _number(numbers.e)}
        return json.dumps({"keys": [key]})

    def token(self, client: str) -> str:
        """Return a token for a client."""
        now = time.time()
        claims = {"sub": client, "aud": AUDIENCE, "iss": ISSUER, "iat": int(now), "exp": int(now + self.lifetime_s)}
        head = {"alg": "RS256", "typ": "JWT", "kid": "1"}
        text = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        return f"{text}.{_base64(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        form = parse_qs(request.rfile.read(int(request.headers.get("Content-Length", 0))).decode())
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        client, _, secret = base64.b64decode(given).decode().partition(":") if kind == "Basic" else ("", "", "")
        if form.get("grant_type") == ["client_credentials"] and self.clients.get(client) == secret != "":
            self.n_issued += 1
            self.scopes += form.get("scope", [])
            answer = {"access_token": self.token(client), "token_type": "Bearer", "expires_in": self.lifetime_s}
            self._send(request, 200, answer)
        else:
            self._send(request, 401, {"error": "invalid_client"})

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()
