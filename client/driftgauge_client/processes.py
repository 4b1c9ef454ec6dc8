"""How clients live through forks (gunicorn --preload, Celery, multiprocessing) and the end of the process."""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import time
from typing import Protocol

EXIT_S = 5.0


class Living(Protocol):
    """What is told about forks and the end."""

    def before_fork(self) -> None:
        """Called in the parent, before."""

    def after_fork_in_parent(self) -> None:
        """Called in the parent, after."""

    def after_fork_in_child(self) -> None:
        """Called in the child, before anything else runs there."""

    def close(self, timeout: float) -> None:
        """Called at the end."""


_clients: dict[int, Living] = {}
_ends_with_a_finalizer: set[int] = set()


def follow(client: Living) -> None:
    """Tell a client about every fork and the end of the process, until `forget`."""
    _clients[id(client)] = client


def forget(client: Living) -> None:
    """Tell a client no more."""
    _clients.pop(id(client), None)


def abandon(inherited: object) -> None:
    """Keep an object for ever: freeing a producer would wait for threads the child does not have."""
    if inherited is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def close_at_end_of_child() -> None:
    """Close the clients when a child of multiprocessing or Celery ends: these leave without atexit."""
    if os.getpid() in _ends_with_a_finalizer:
        return
    for package in ("multiprocessing", "billiard"):
        process, util = sys.modules.get(f"{package}.process"), sys.modules.get(f"{package}.util")
        if process is not None and util is not None and getattr(process.current_process(), "_parent_pid", None):
            _ends_with_a_finalizer.add(os.getpid())
            util.Finalize(None, _close_all, exitpriority=10)


def _close_all() -> None:
    deadline_s = time.monotonic() + EXIT_S
    for client in list(_clients.values()):
        client.close(max(deadline_s - time.monotonic(), 0.0))


def _before_fork() -> None:
    for client in list(_clients.values()):
        client.before_fork()


def _after_fork_in_parent() -> None:
    for client in list(_clients.values()):
        client.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for client in list(_clients.values()):
        client.after_fork_in_child()


# Registered with the import, so that it runs after what the service registers later.
atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
