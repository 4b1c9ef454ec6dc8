"""A WSGI service whose client is made before gunicorn forks its workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import driftgauge_client

driftgauge_client.configure()
driftgauge_client.log("m", {"x": 1}, id="preload")


def app(environ: dict[str, str], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """Log the request's path and answer with the worker's pid."""
    driftgauge_client.log("m", {"x": 1}, id=environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
