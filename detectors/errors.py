"""What can go wrong in the detection core, one exception a cause."""

from __future__ import annotations


class DetectorError(Exception):
    """Anything the detection core refuses."""


class UnusableReference(DetectorError, ValueError):
    """The reference rows cannot become a baseline; the message says which rows are needed."""


class IncompatibleState(DetectorError, ValueError):
    """A snapshot is damaged, or was written with another configuration or library version."""


class UnknownStatistic(DetectorError, ValueError):
    """The monitor sets a limit on a statistic that does not exist."""


class UnknownTimezone(DetectorError, ValueError):
    """The monitor names a time zone that does not exist."""
