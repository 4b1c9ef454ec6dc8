"""Spans of our own work, for who sets `traces_endpoint`; a call costs next to nothing while it is not set.

A span tells where and how much (agent, topic, partition, offsets, counts), never what was in a record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from schemas.records import Record
from streams.settings import Settings

_tracer: Any = None  # of the process; the SDK is imported only when there is one
_nothing = nullcontext()


def span(name: str, **where: str | int) -> AbstractContextManager[Any]:
    """Return a context manager that is a span while traces are on.

    Spans opened inside it, in the same task, are its children.
    """
    return _nothing if _tracer is None else _tracer.start_as_current_span(name, attributes=where)


def records_span(name: str, agent: str, records: Sequence[Record]) -> AbstractContextManager[Any]:
    """Return a span over records of one partition."""
    if _tracer is None:
        return _nothing
    first, last = records[0], records[-1]
    return span(
        name,
        agent=agent,
        topic=first.topic,
        partition=first.partition,
        first_offset=first.offset,
        last_offset=last.offset,
        records=len(records),
    )


def start(settings: Settings, role: str) -> Callable[[], None]:
    """Begin to export, if an endpoint is set; return what sends the rest and ends it."""
    global _tracer  # a process has one tracer, as it has one root logger
    if not settings.traces_endpoint:
        return lambda: None
    from streams.sinks.traces import exporting

    _tracer, close = exporting(settings, role)

    def end() -> None:
        global _tracer
        _tracer = None
        close()

    return end
