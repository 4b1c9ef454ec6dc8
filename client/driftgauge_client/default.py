"""The client of the module's functions: made at the first call, from the environment."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from driftgauge_client.buffer import Stats
from driftgauge_client.client import Client
from driftgauge_client.notices import Notices
from driftgauge_client.settings import KafkaValue, SettingsError

P = ParamSpec("P")

_lock = threading.RLock()
_notices = Notices()
_client: Client | None = None
_n_refused = 0


def _after_fork_in_child() -> None:
    """Replace locks another thread of the parent may have held."""
    global _lock, _notices
    _lock = threading.RLock()
    _notices = Notices()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def configure(
    bootstrap_servers: str | None = None, *, kafka: dict[str, KafkaValue] | None = None, **settings: Any
) -> Client:
    """Make the client of the module's functions, with `Client`'s arguments; one made before is closed.

    Raises
    ------
    SettingsError
        When a setting cannot work.
    """
    global _client
    client = Client(bootstrap_servers, kafka=kafka, **settings)
    with _lock:
        before, _client = _client, client
    if before is not None:
        before.close()
    return client


def _current() -> Client | None:
    """Return the client, or None when the environment does not allow one; said once a minute."""
    global _n_refused
    client = _client
    if client is None:
        try:
            with _lock:
                client = _client or configure()
        except SettingsError as error:
            _n_refused += 1
            _notices.say("settings", f"nothing is sent: {error}")
    return client


def _through(method: Callable[Concatenate[Client, P], None]) -> Callable[P, None]:
    """Return the client's method as a function of the module."""

    @wraps(method)
    def through(*args: P.args, **kwargs: P.kwargs) -> None:
        client = _current()
        if client is not None:
            method(client, *args, **kwargs)

    return through


log = _through(Client.log)
log_many = _through(Client.log_many)
feedback = _through(Client.feedback)
feedback_many = _through(Client.feedback_many)


def flush(timeout: float = 10.0) -> bool:
    """Send all that is buffered; see `Client.flush`."""
    return _client.flush(timeout) if _client is not None else _n_refused == 0


def close(timeout: float = 5.0) -> None:
    """Send what is buffered and end; the next call begins with a new client."""
    global _client
    with _lock:
        client, _client = _client, None
    if client is not None:
        client.close(timeout)


def stats() -> Stats:
    """Return what became of the rows so far; calls without usable settings count as invalid."""
    return _client.stats() if _client is not None else Stats(invalid=_n_refused)
