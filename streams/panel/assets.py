"""Static files: our own, and plotly.js as the installed plotly package carries it. No network, nothing vendored."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).parent / "static"
PLOTLY_PATH = f"/static/plotly-{metadata.version('plotly')}.min.js"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"


@cache
def _version() -> str:
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def versioned(name: str) -> str:
    """Return the path of a static file; it changes whenever any of them does, so browsers may keep them for ever."""
    return f"/static/{_version()}/{name}"


@cache
def _ours(name: str) -> bytes | None:
    path = STATIC / name
    return path.read_bytes() if path.suffix in TYPES and path.parent == STATIC and path.is_file() else None


def _plotly_js() -> bytes:
    return files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()


@cache
def _plotly() -> tuple[bytes, bytes]:
    plain = _plotly_js()
    return plain, gzip.compress(plain, 6)


@cache
def plotly_style_ids() -> tuple[str, ...]:
    """Return the ids under which plotly.js looks for style sheets of maps before it inlines them.

    We draw no maps, and our policy forbids inline style elements: a page that has elements with these
    ids keeps plotly.js from trying.
    """
    found = re.findall(rb'getElementById\("([0-9a-f]{64})"\)', _plotly_js())
    return tuple(sorted({name.decode() for name in found}))


async def serve_plotly(request: web.Request) -> web.Response:
    """Answer with plotly.js, compressed once."""
    plain, compressed = await asyncio.to_thread(_plotly)
    zipped = "gzip" in request.headers.get("Accept-Encoding", "")
    headers = {"Cache-Control": FOR_EVER, "Vary": "Accept-Encoding"}
    if zipped:
        headers["Content-Encoding"] = "gzip"
    return web.Response(
        body=compressed if zipped else plain, content_type="text/javascript", charset="utf-8", headers=headers
    )


async def serve_ours(request: web.Request) -> web.Response:
    """Answer with one of our own files."""
    name = request.match_info["name"]
    body = _ours(name)
    if body is None:
        raise web.HTTPNotFound(text="no such file")
    fresh = request.match_info["version"] == _version()
    return web.Response(
        body=body,
        content_type=TYPES[Path(name).suffix],
        charset="utf-8",
        headers={"Cache-Control": FOR_EVER if fresh else "no-cache"},
    )


def add_routes(app: web.Application) -> None:
    """Add the static files to an application."""
    app.router.add_get(PLOTLY_PATH, serve_plotly)
    app.router.add_get("/static/{version}/{name}", serve_ours)
