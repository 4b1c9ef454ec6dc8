"""A line to send on, and clients that send on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from driftgauge_client import Client

from tests.brokers import Embedded
from tests.client.support import NOWHERE, Line

collect_ignore = ["programs"]  # they run as processes of their own


@pytest.fixture
def line(shared_embedded_broker: Embedded) -> Line:
    """Topics of this test's own on the embedded broker."""
    return Line.on(shared_embedded_broker)


@pytest.fixture
def client(line: Line) -> Iterator[Client]:
    """A client that sends on the line."""
    with Client(**line.arguments()) as client:
        yield client


@pytest.fixture
def unreachable() -> Iterator[Callable[..., Client]]:
    """Return a function that makes clients of a broker that is not there; they are ended at once."""
    made: list[Client] = []

    def make(**settings: Any) -> Client:
        made.append(Client(NOWHERE, **settings))
        return made[-1]

    yield make
    for client in made:
        client.close(0)
