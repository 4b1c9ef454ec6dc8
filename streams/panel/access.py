"""Who may see the panel: where it binds, the token, the cookie, the host name, the response headers."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

COOKIE = "driftgauge_session"
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/login"})
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "style-src-attr 'unsafe-inline'",  # plotly.js sets them on its SVG; style elements stay forbidden
            "img-src 'self' data:",  # a heat map is drawn as a data: image
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class UnsafeBind(ValueError):
    """The panel was told to listen beyond this machine without a token."""


def check_bind(host: str, token: str | None, insecure: bool) -> None:
    """Refuse to listen beyond this machine when nothing protects the page.

    Raises
    ------
    UnsafeBind
        If `host` is not a loopback address and there is neither a token nor `insecure`.
    """
    if token or insecure:
        return
    try:
        loopback = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise UnsafeBind(
            f"bind is {host!r}, which others can reach, and panel_token is not set. "
            "Set DRIFTGAUGE_PANEL_TOKEN to a secret, or DRIFTGAUGE_BIND to 127.0.0.1, "
            "or DRIFTGAUGE_INSECURE=true if something else guards the port."
        )


def _session(token: str) -> str:
    return hmac.new(token.encode(), b"driftgauge panel session", hashlib.sha256).hexdigest()


def same(given: str, wanted: str) -> bool:
    """Compare in constant time what was given with what was wanted."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())


def admitted(request: web.Request, token: str) -> bool:
    """Whether the request carries the token as a bearer, or the cookie of an earlier login."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and same(bearer.strip(), token):
        return True
    return same(request.cookies.get(COOKIE, ""), _session(token))


def log_in(request: web.Request, token: str, target: URL) -> web.Response:
    """Redirect to `target` with the cookie set; the cookie is not the token itself."""
    response = web.Response(status=303, headers={"Location": str(target), "Cache-Control": "no-store"})
    response.set_cookie(COOKIE, _session(token), httponly=True, samesite="Lax", secure=request.secure, path="/")
    return response


def local_target(path: str) -> URL:
    """Return `path` if it is a path on this server, else the front page."""
    if not path.startswith("/") or path.startswith(("//", "/\\")) or any(ord(c) < 32 for c in path):
        return URL("/")
    return URL(path)


def guard(token: str | None, insecure: bool, refuse: Callable[[web.Request, int], web.Response]) -> Middleware:
    """Return the middleware that admits, refuses, and puts the security headers on every response.

    Without a token only requests that name this machine as their host are answered, so that a web
    page elsewhere cannot read the panel by pointing its own name at 127.0.0.1.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _admit(request, handler, token, insecure, refuse)

    return middleware


async def _admit(
    request: web.Request,
    handler: Handler,
    token: str | None,
    insecure: bool,
    refuse: Callable[[web.Request, int], web.Response],
) -> web.StreamResponse:
    if token is None:
        if not insecure and _host(request) not in LOCAL_HOSTS:
            return refuse(request, 421)
        return await handler(request)
    if request.path in OPEN_PATHS or request.path.startswith("/static/") or admitted(request, token):
        return await handler(request)
    given = request.query.get("token")
    if given is not None and request.method == "GET" and same(given, token):
        return log_in(request, token, request.rel_url.without_query_params("token"))
    return refuse(request, 401)


def _host(request: web.Request) -> str:
    try:
        return URL(f"http://{request.host}").host or ""
    except ValueError:
        return ""


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Put the security headers on a response that is about to be sent."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if not request.path.startswith("/static/"):
        response.headers.setdefault("Cache-Control", "no-store")
