"""What the panel asks of the past. `streams.sinks.history` answers it from ClickHouse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.alerts import Alert
from schemas.results import Result

LIVE = "live"


class HistoryUnavailable(Exception):
    """The store of past results cannot be read now; the message says why and what to do."""


class History(Protocol):
    """The past, read-only. Every method raises `HistoryUnavailable` or any other error when it cannot answer."""

    async def latest(self, *, run_id: str = LIVE, limit: int = 1000) -> Sequence[Result]:
        """Return the newest result of every (model, slice, scale), in no particular order."""
        ...

    async def results(
        self,
        model: str,
        *,
        run_id: str = LIVE,
        slice: str = "",
        scale: int = 1,
        feature: str | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 200,
    ) -> Sequence[Result]:
        """Return the last revision of the newest `limit` windows that start in `[start_ms, end_ms)`, oldest first.

        With `feature`, each result carries the verdict and the warnings of that feature alone.
        """
        ...

    async def alerts(self, *, model: str | None = None, limit: int = 200) -> Sequence[Alert]:
        """Return the newest state of each episode, newest first."""
        ...


class NoHistory:
    """A past that holds nothing: for a panel that shows only what it hears itself."""

    async def latest(self, *, run_id: str = LIVE, limit: int = 1000) -> Sequence[Result]:  # noqa: ARG002 - the protocol's names
        """Return nothing."""
        return ()

    async def results(
        self,
        model: str,  # noqa: ARG002 - the protocol's names
        *,
        run_id: str = LIVE,  # noqa: ARG002 - the protocol's names
        slice: str = "",  # noqa: ARG002 - the protocol's names
        scale: int = 1,  # noqa: ARG002 - the protocol's names
        feature: str | None = None,  # noqa: ARG002 - the protocol's names
        start_ms: int | None = None,  # noqa: ARG002 - the protocol's names
        end_ms: int | None = None,  # noqa: ARG002 - the protocol's names
        limit: int = 200,  # noqa: ARG002 - the protocol's names
    ) -> Sequence[Result]:
        """Return nothing."""
        return ()

    async def alerts(self, *, model: str | None = None, limit: int = 200) -> Sequence[Alert]:  # noqa: ARG002 - the protocol's names
        """Return nothing."""
        return ()
