"""Every topic, once: name, key, partitions, cleanup. Nothing else spells a topic's name."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import msgspec

DAY_MS = 86_400_000


class Topic(msgspec.Struct, frozen=True):
    """One Kafka topic. `partitions` 0 means the configured number; -1 retention is unlimited."""

    name: str
    key: str
    carries: str
    cleanup: Literal["delete", "compact", "compact,delete"] = "delete"
    retention_ms: int = 7 * DAY_MS
    partitions: int = 0
    ours: bool = True


EVENTS = Topic("drift.events.v1", "anything", "inference events of models", ours=False)
FEEDBACK = Topic("drift.feedback.v1", "anything", "labels, thumbs, ratings and other feedback", ours=False)
SPANS = Topic("otlp_spans", "trace id or none", "OTLP trace export requests", ours=False)
EVIDENCE = Topic("drift.evidence.v1", "model", "partial counts, watermarks, commands: the judge's one input")
RESULTS = Topic("drift.results.v1", "model", "verdicts and warnings, JSON")
ALERTS = Topic(
    "drift.alerts.v1", "episode id", "each state of an alert", cleanup="compact,delete", retention_ms=90 * DAY_MS
)
BASELINES = Topic(
    "drift.baselines.v1", "model/version", "baselines, chunked", cleanup="compact", retention_ms=-1, partitions=1
)
MONITORS = Topic("drift.monitors.v1", "model/version", "monitors", cleanup="compact", retention_ms=-1, partitions=1)
LEARNING = Topic(
    "drift.learning.v1", "model", "rows of models that have no baseline yet", retention_ms=60 * DAY_MS
)  # a model may take weeks to bring enough rows
DEAD = Topic(
    "drift.dead.v1", "original key", "messages that could not be used, whole, with the reason", retention_ms=30 * DAY_MS
)


SNAPSHOT_PREFIX = "drift.snapshots."


MAX_TOPIC_NAME = 249


def snapshots(agent: str) -> Topic:
    """Return the topic of an agent's snapshots; it has as many partitions as the agent's input."""
    name = f"{SNAPSHOT_PREFIX}{agent}.v1"
    if len(name) > MAX_TOPIC_NAME:
        digest = blake2b(agent.encode(), digest_size=8).hexdigest()
        name = f"{SNAPSHOT_PREFIX}{agent[: MAX_TOPIC_NAME - 60]}-{digest}.v1"
    return Topic(name, "model segment", f"state of {agent}", retention_ms=-1)


def profile_of(topic: str) -> str:
    """Return the name of the agent that profiles a mapped topic.

    >>> snapshots(profile_of("scores")).name
    'drift.snapshots.profile.scores.v1'
    """
    return f"profile.{topic}"


INPUTS = {"profile": EVENTS, "judge": EVIDENCE, "learn": LEARNING}  # of the agents with state
SNAPSHOTS = tuple(snapshots(agent) for agent in INPUTS)
ALL: tuple[Topic, ...] = (
    EVENTS,
    FEEDBACK,
    SPANS,
    EVIDENCE,
    RESULTS,
    ALERTS,
    BASELINES,
    MONITORS,
    LEARNING,
    DEAD,
    *SNAPSHOTS,
)
