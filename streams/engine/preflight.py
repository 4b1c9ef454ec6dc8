"""Topics: what must exist before the first record, and making it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from schemas.topics import ALL, INPUTS, Topic, snapshots
from streams.engine import diagnosis, rights
from streams.engine.connection import librdkafka
from streams.engine.diagnosis import Verdict
from streams.permissions import TOPICS
from streams.settings import Settings

TIMEOUT_S = 20.0
ATTEMPT_S = 1.0
REFUSED_AFTER_S = 2.5  # another broker of the list may take us
DESCRIBE_TIMEOUT_S = 5.0
SOURCES = {snapshots(agent).name: source.name for agent, source in INPUTS.items()}


class PreflightError(Exception):
    """Something a role needs is not there; the text says what and how to mend it."""


class UnreachableError(PreflightError):
    """The brokers do not answer."""


class RefusedError(PreflightError):
    """The brokers answer and let us not in: a setting of TLS or SASL is wrong."""


def reach(settings: Settings) -> tuple[AdminClient, Any]:
    """Return a client and the metadata a broker gave it.

    Raises
    ------
    RefusedError
        Within seconds, when a setting of TLS or SASL is wrong.
    UnreachableError
        Within seconds when something else is wrong with the connection, or when no broker answers in time.
    """
    errors: list[KafkaError] = []
    try:
        client = AdminClient(librdkafka(settings) | {"error_cb": errors.append, "log_level": 0})
    except KafkaException as error:
        raise RefusedError(f"Kafka's library refuses the settings of the connection: {error.args[0].str()}") from None
    started = time.monotonic()
    while True:
        try:
            return client, client.list_topics(timeout=min(ATTEMPT_S, TIMEOUT_S))
        except KafkaException as error:
            client.poll(0)
            waited = time.monotonic() - started
            if waited < min(REFUSED_AFTER_S, TIMEOUT_S):
                continue
            why, fix, verdict = diagnosis.explain(settings, errors or [error.args[0]])
            if verdict is not Verdict.SILENT or waited >= TIMEOUT_S:
                kind = RefusedError if verdict is Verdict.REFUSED else UnreachableError
                raise kind(f"Kafka at {settings.bootstrap_servers} {why}. {fix}.") from None


def planned(settings: Settings) -> dict[str, int]:
    """Return every topic with its number of partitions; snapshots have as many as their input."""
    counts = {topic.name: topic.partitions or settings.partitions for topic in ALL}
    return counts | {name: counts[source] for name, source in SOURCES.items()}


def existing(settings: Settings) -> dict[str, int]:
    """Return the topics of the cluster with their number of partitions.

    Raises
    ------
    RefusedError, UnreachableError
        When the brokers do not let us in, or none answers in time.
    """
    _, metadata = reach(settings)
    return _counts(metadata)


def _counts(metadata: Any) -> dict[str, int]:
    return {name: len(topic.partitions) for name, topic in metadata.topics.items() if not topic.error}


def check(settings: Settings, needed: Iterable[Topic]) -> dict[str, int]:
    """Return the partition counts of all topics once those needed exist and fit together.

    Raises
    ------
    PreflightError
        Naming every topic that is missing, or whose partition count does not fit.
    """
    found = existing(settings)
    missing = [topic.name for topic in needed if topic.name not in found]
    if missing:
        raise PreflightError(f"missing topics: {', '.join(missing)}. Make them with `driftgauge topics create`.")
    if wrong := _unequal(found):
        raise PreflightError("; ".join(wrong))
    return found


def _unequal(found: dict[str, int]) -> list[str]:
    return [
        f"{name} has {found[name]} partitions and its input {source} has {found[source]}. They must be equal."
        for name, source in SOURCES.items()
        if name in found and source in found and found[name] != found[source]
    ]


def check_role(role: str, settings: Settings) -> dict[str, int]:
    """Return the partition counts of all topics once everything a role needs is there and allowed.

    Raises
    ------
    PreflightError
        Naming, at once, every topic that is missing, every right the user lacks and every limit that is too low.
    """
    needed = TOPICS[role]
    if settings.embedded:
        return check(settings, needed)
    client, metadata = reach(settings)
    missing, lacking = rights.lacking(client, settings, role)
    problems = [f"missing topics: {', '.join(missing)}. Make them with `driftgauge topics create`."] if missing else []
    if lacking:
        problems.append(
            f"not allowed: {'; '.join(lacking)}. `driftgauge acls {role} --principal User:NAME` prints what to run."
        )
    problems += rights.too_small(client, role)
    found = _counts(metadata)
    problems += _unequal(found)
    if problems:
        raise PreflightError(f"{role} cannot start on {settings.bootstrap_servers}: " + "\n".join(problems))
    return found


def create(settings: Settings) -> dict[str, str]:
    """Make the topics that are missing; return what was done for each topic.

    Raises
    ------
    PreflightError
        When the cluster refuses a topic.
    """
    found = existing(settings)
    client = AdminClient(librdkafka(settings))
    done = dict.fromkeys((name for name in planned(settings) if name in found), "there already")
    new = [
        NewTopic(topic.name, n_partitions, settings.replication, config=config(topic))
        for topic in ALL
        if topic.name not in found
        for n_partitions in [_partitions(topic, found, settings)]
    ]
    for name, future in client.create_topics(new).items() if new else ():
        try:
            future.result(TIMEOUT_S)
            done[name] = "created"
        except KafkaException as error:
            raise PreflightError(f"{name}: {error.args[0].str()}") from None
    return done


def _partitions(topic: Topic, found: dict[str, int], settings: Settings) -> int:
    """Snapshots follow the partition count their input really has."""
    return found.get(SOURCES.get(topic.name, ""), planned(settings)[topic.name])


def differences(settings: Settings, found: dict[str, int]) -> dict[str, str]:
    """Return what is wrong with each of our topics, "" where nothing is.

    Topics that others write to may have any number of partitions. A broker that does not tell how it cleans up, as
    the embedded one, is compared by partitions only.
    """
    policies = _policies(settings, [topic.name for topic in ALL if topic.name in found])
    return {topic.name: _difference(topic, found, settings, policies.get(topic.name)) for topic in ALL}


def _difference(topic: Topic, found: dict[str, int], settings: Settings, policy: str | None) -> str:
    if topic.name not in found:
        return "missing"
    wrong = []
    wanted = _partitions(topic, found, settings)
    if topic.ours and found[topic.name] != wanted:
        wrong.append(f"{found[topic.name]} partitions instead of {wanted}")
    if policy is not None and set(policy.split(",")) != set(topic.cleanup.split(",")):
        wrong.append(f"cleanup.policy {policy} instead of {topic.cleanup}")
    return "; ".join(wrong)


def _policies(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    """Return the cleanup policies of topics, as far as the broker tells."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if settings.embedded or not resources:
        return {}
    client = AdminClient(librdkafka(settings) | {"log_level": 0})
    described = client.describe_configs(resources, request_timeout=DESCRIBE_TIMEOUT_S)
    policies = {}
    for resource, future in described.items():
        try:
            policies[resource.name] = str(future.result(2 * DESCRIBE_TIMEOUT_S)["cleanup.policy"].value)
        except (KafkaException, KeyError):  # not supported, or not allowed
            continue
    return policies


def config(topic: Topic) -> dict[str, str]:
    """Return the settings a topic of ours is made with."""
    made = {"cleanup.policy": topic.cleanup, "retention.ms": str(topic.retention_ms)}
    made["max.message.bytes"] = "2200000" if topic.ours else "1100000"  # what came in has room for our headers
    if topic.retention_ms == -1:
        made["retention.bytes"] = "-1"  # a broker's own limit must not delete what has to stay
    if topic.ours:
        made["message.timestamp.type"] = "LogAppendTime"
    return made
