"""An event loop in a thread of its own, for servers a benchmark talks to from ordinary code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
TIMEOUT_S = 30.0


class Background:
    """Enters asynchronous context managers there and leaves them, last first, when it is left itself."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop).result(TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_S)
        self._loop.close()

    def enter(self, entered: AbstractAsyncContextManager[T]) -> T:
        """Enter a context manager on the loop and return what it gives."""
        return asyncio.run_coroutine_threadsafe(self._stack.enter_async_context(entered), self._loop).result(TIMEOUT_S)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function on the loop, soon."""
        self._loop.call_soon_threadsafe(function, *arguments)
