"""What can go wrong for good between us and a destination."""

from __future__ import annotations


class SinkError(Exception):
    """A destination cannot be used as asked. What is temporary is retried and never raised as this."""


class SinkRejected(SinkError):
    """The destination refuses these rows and always will; they belong into the dead letters."""


class SinkMisconfigured(SinkError):
    """Address, credentials, tables or settings are wrong; the rows are fine. Fix the setting named and start again."""


class SinkUnavailable(SinkError):
    """The destination did not answer in time, where the caller asked not to wait for ever."""
