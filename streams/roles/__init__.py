"""The composition root: each role's parts, built and joined here and nowhere else.

A role imports only what it needs, so that its process stays small.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from importlib import import_module

import faust

from streams import logs, tracing
from streams.settings import Settings

PORTS = {"panel": 8600, "detect": 8601, "store": 8602, "notify": 8603, "forward": 8604}
ROLES = tuple(PORTS)


def port_of(role: str, settings: Settings) -> int:
    """Return the port of a role's web server."""
    if role == "panel":
        return settings.panel_port
    return settings.metrics_port or PORTS[role]


def run(role: str, settings: Settings) -> None:
    """Run one role until a signal stops it."""
    logs.start(settings, role)
    end_traces = tracing.start(settings, role)
    try:
        afresh = _run(role, settings)
    finally:
        end_traces()
    if afresh:  # the same command in the same process: no supervisor has to be there, and none has to wait
        logging.shutdown()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _run(role: str, settings: Settings) -> bool:
    """Run a role; return whether it wants to begin again."""
    module = import_module(f"streams.roles.{role}")
    if role == "panel":
        asyncio.run(_until_stopped(module.serve, settings))
        return False
    app = module.build(settings)
    worker = faust.Worker(
        app,
        loglevel=settings.log_level.lower(),
        override_logging=False,
        redirect_stdouts=False,
        quiet=True,
    )
    worker.spinner = None  # its control characters would stand before the first log line
    try:
        worker.execute_from_commandline()
    except SystemExit:
        if not app.afresh:
            raise
    return bool(app.afresh)


async def _until_stopped(serve: object, settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, stop)  # type: ignore[operator]  # the module's own coroutine
