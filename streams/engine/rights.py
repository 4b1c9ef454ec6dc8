"""What a user may do on the brokers, and how large a message may be, compared with what a role needs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from schemas import topics
from schemas.topics import Topic
from streams.permissions import TOPICS, Operation, group_of, kafka_name
from streams.settings import Settings

TIMEOUT_S = 5.0
PATIENCE_S = 20.0
MESSAGE_BYTES = 1_000_000  # chunks of snapshots and baselines stay below 900 kB
_CARRIERS = (topics.DEAD, topics.LEARNING)  # hold what came in, whole
_SOON = (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR)


def lacking(client: AdminClient, settings: Settings, role: str) -> tuple[list[str], list[str]]:
    """Return the topics that are missing, and each right the user lacks as ``Write on drift.dead.v1``.

    A broker that does not tell, because it authorizes nobody or cannot, is taken to allow everything.
    """
    wanted = TOPICS[role]
    described = client.describe_topics(
        TopicCollection([topic.name for topic in wanted]), include_authorized_operations=True, request_timeout=TIMEOUT_S
    )
    missing, rights = [], []
    for topic, operations in wanted.items():
        try:
            allowed = _names(described[topic.name].result(2 * TIMEOUT_S).authorized_operations)
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                missing.append(topic.name)
                continue
            allowed = set() if code == KafkaError.TOPIC_AUTHORIZATION_FAILED else None
        if absent := _absent(operations, allowed):
            rights.append(f"{absent} on topic {topic.name}")
    if (group := group_of(role, settings.group)) is not None and (
        absent := _absent(("READ",), _of_group(client, group))
    ):
        rights.append(f"{absent} on group {group}")
    return missing, rights


def _absent(wanted: Iterable[Operation], allowed: set[str] | None) -> str:
    return "" if allowed is None else ", ".join(kafka_name(one) for one in wanted if one not in allowed)


def _names(operations: Any) -> set[str] | None:
    return None if operations is None else {operation.name for operation in operations}


def _of_group(client: AdminClient, group: str) -> set[str] | None:
    """Return what is allowed on a group, None when the broker does not tell; a young cluster needs a moment."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        described = client.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=TIMEOUT_S
        )
        try:
            return _names(described[group].result(2 * TIMEOUT_S).authorized_operations)
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return set()
            if code not in _SOON or time.monotonic() > deadline:
                return None
            time.sleep(0.2)


def too_small(client: AdminClient, role: str) -> list[str]:
    """Return each topic the role writes whose ``max.message.bytes`` is below what may be sent to it, with the fix."""
    wanted = TOPICS[role]
    limits = _limits(client, wanted)
    incoming = max((limits.get(topic.name, 0) for topic in wanted if not topic.ours), default=0)
    found = []
    for topic, operations in wanted.items():
        needed = max(MESSAGE_BYTES, incoming if topic in _CARRIERS else 0)
        limit = limits.get(topic.name, needed)
        if "WRITE" in operations and limit < needed:
            found.append(f"{topic.name} takes messages up to {limit} bytes: set its max.message.bytes to {needed}")
    return found


def _limits(client: AdminClient, wanted: Iterable[Topic]) -> Mapping[str, int]:
    """Return the limits of topics, as far as the broker tells us."""
    resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in wanted]
    found = {}
    for resource, future in client.describe_configs(resources, request_timeout=TIMEOUT_S).items():
        try:
            found[str(resource.name)] = int(str(future.result(2 * TIMEOUT_S)["max.message.bytes"].value))
        except (KafkaException, KeyError):  # not allowed, or not supported
            continue
    return found
