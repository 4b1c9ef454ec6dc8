"""What stands around the line: a store, Slack and an OTLP endpoint that misbehave as they are told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from benchmarks.background import Background
from tests.sinks.misbehaving import Misbehaving
from tests.sinks.otlp_server import otlp_endpoint
from tests.sinks.slack_server import slack_server

MESSAGE = re.compile(r"Alert `([^`]+)`, message (\d+)\.")


class Outside:
    """Slack, OTLP endpoint and the front before the store; `plan` says what their next requests meet."""

    def __init__(self, background: Background, store_url: str) -> None:
        self._background = background
        self.slack = background.enter(slack_server())
        self.otlp = background.enter(otlp_endpoint())
        self.store = background.enter(Misbehaving(store_url))
        self._queues: dict[str, Any] = {
            "slack": self.slack.planned,
            "otlp": self.otlp.planned,
            "clickhouse": self.store.faults,
        }
        self.n_uncertain = 0

    def plan(self, destination: str, faults: Iterable[str]) -> None:
        """Let the next requests to a destination meet these faults."""
        for fault in faults:
            planned: Any = fault
            again = {"Retry-After": "1"} if fault == "429" else {}
            if destination == "slack":
                self.n_uncertain += fault == "cut_after"
                planned = (int(fault), "busy", again) if fault.isdecimal() else fault
            elif destination == "otlp":
                planned = (int(fault), again) if fault.isdecimal() else fault
            self._background.call(self._queues[destination].append, planned)

    def heal(self) -> None:
        """Forget what was planned."""
        for queue in self._queues.values():
            self._background.call(queue.clear)

    def slack_messages(self) -> Counter[tuple[str, int]]:
        """Return how often Slack has taken each state of each alert."""
        return Counter(identity for body in list(self.slack.bodies) for identity in identities(body))

    def spans(self) -> Counter[str]:
        """Return how often each span has arrived."""
        return Counter(self.otlp.names)


def identities(body: object) -> set[tuple[str, int]]:
    """Return the (episode, sequence) a message to Slack names; one in all messages of ours."""
    return {(episode, int(sequence)) for episode, sequence in MESSAGE.findall(str(body))}
