"""What the roles share: topics they need, registry, outbox, catalogue, dead letters, the store."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, ProcessCollector

from schemas import topics
from schemas.records import Record, Rejected
from streams.agents.outputs import Originating, dead_output
from streams.catalogue import Catalogue
from streams.engine import preflight
from streams.engine.app import build_app, leave
from streams.engine.follow import Follower
from streams.engine.outbox import Outbox, Output
from streams.roles import port_of
from streams.settings import Settings
from streams.sinks.prometheus import Metrics


def process_registry() -> CollectorRegistry:
    """Return a registry with the process's own memory, CPU and file descriptors."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


class Parts:
    """What the roles with a Faust app share."""

    def __init__(self, role: str, settings: Settings) -> None:
        self.role, self.settings = role, settings
        self.n_partitions = preflight.check_role(role, settings)
        self.registry = process_registry()
        self.metrics = Metrics(self.registry)
        self.outbox = Outbox(settings, leave)
        self.catalogue = Catalogue()
        self.app = build_app(role, settings, self.registry, self.outbox, port_of(role, settings))
        self.app.metrics_of_role = self.metrics

    def follow_control(self) -> None:
        """Read the control topics to their end before the first record, and follow them."""
        names = [topics.BASELINES.name, topics.MONITORS.name]
        follower = Follower(self.settings, names, self.catalogue.update, on_failure=leave)
        self.app.before_start.append(follower.start)
        self.app.after_stop.append(follower.stop)

    def originating(self, topic: str, partition: int) -> Originating:
        """Return what numbers the outputs of one input partition."""
        return Originating(topic, partition, self.n_partitions)

    def dead(self, record: Record, reason: str, detail: str, *, keep_value: bool = True) -> Output:
        """Return the dead letter of a record; its value stays behind where the catalogue, or the caller, says so."""
        self.metrics.dead_letter(reason)
        out = self.originating(record.topic, record.partition)
        keep_value = keep_value and self.catalogue.keeps_value(record)
        return dead_output(out, record, Rejected(record.offset, reason, detail), self.role, keep_value=keep_value)
