"""Forked children: gunicorn --preload, Celery, multiprocessing."""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections.abc import Callable
from typing import Protocol


class Forked(Protocol):
    """What can be told about a fork."""

    def before_fork(self) -> None:
        """Called in the parent, before."""

    def after_fork_in_parent(self) -> None:
        """Called in the parent, after."""

    def after_fork_in_child(self) -> None:
        """Called in the child, before anything else runs there."""


_followed: weakref.WeakSet[Forked] = weakref.WeakSet()


def follow(client: Forked) -> None:
    """Tell a client about every fork, as long as it lives."""
    _followed.add(client)


def _tell(method: str) -> Callable[[], None]:
    def tell() -> None:
        for client in list(_followed):
            getattr(client, method)()

    return tell


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_tell("before_fork"),
        after_in_parent=_tell("after_fork_in_parent"),
        after_in_child=_tell("after_fork_in_child"),
    )


def abandon(inherited: object) -> None:
    """Keep an object for ever: freeing a producer would wait for threads the child does not have."""
    if inherited is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def at_exit_of_child(close: Callable[[], None]) -> None:
    """Run `close` when a child of multiprocessing or Celery ends: these leave without atexit."""
    for package in ("multiprocessing", "billiard"):
        process, util = sys.modules.get(f"{package}.process"), sys.modules.get(f"{package}.util")
        if process is not None and util is not None and getattr(process.current_process(), "_parent_pid", None):
            util.Finalize(None, close, exitpriority=10)
