"""Topics: what must exist before the first record, and making it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.topics import ALL, EVENTS, EVIDENCE, LEARNING, Topic, snapshots
from streams.engine.connection import librdkafka
from streams.settings import Settings

TIMEOUT_S = 20.0


class PreflightError(Exception):
    """Something a role needs is not there; the text says what and how to mend it."""


class UnreachableError(PreflightError):
    """The brokers do not answer."""


def planned(settings: Settings) -> dict[str, int]:
    """Return every topic with its number of partitions; snapshots have as many as their input."""
    counts = {topic.name: topic.partitions or settings.partitions for topic in ALL}
    for agent, source in (("profile", EVENTS), ("judge", EVIDENCE), ("learn", LEARNING)):
        counts[snapshots(agent).name] = counts[source.name]
    return counts


def existing(settings: Settings) -> dict[str, int]:
    """Return the topics of the cluster with their number of partitions.

    Raises
    ------
    UnreachableError
        When no broker answers in time.
    """
    errors: list[str] = []
    client = AdminClient(librdkafka(settings) | {"error_cb": lambda error: errors.append(error.str()), "log_level": 0})
    try:
        metadata: Any = client.list_topics(timeout=TIMEOUT_S)
    except KafkaException as error:
        why = errors[-1] if errors else error.args[0].str()
        raise UnreachableError(
            f"Kafka at {settings.bootstrap_servers} does not answer: {why}. Check DRIFTGAUGE_BOOTSTRAP_SERVERS, "
            "and with TLS or SASL the DRIFTGAUGE_SECURITY_PROTOCOL, DRIFTGAUGE_SASL_… and DRIFTGAUGE_SSL_… settings."
        ) from None
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
    wrong = []
    for agent, source in (("profile", EVENTS), ("judge", EVIDENCE), ("learn", LEARNING)):
        name = snapshots(agent).name
        if name in found and source.name in found and found[name] != found[source.name]:
            wrong.append(f"{name} has {found[name]} partitions and its input {source.name} has {found[source.name]}")
    if wrong:
        raise PreflightError("; ".join(wrong) + ". They must be equal.")
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
        NewTopic(topic.name, n_partitions, settings.replication, config=_config(topic))
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
    for agent, source in (("profile", EVENTS), ("judge", EVIDENCE), ("learn", LEARNING)):
        if topic.name == snapshots(agent).name and source.name in found:
            return found[source.name]
    return planned(settings)[topic.name]


def _config(topic: Topic) -> dict[str, str]:
    config = {"cleanup.policy": topic.cleanup, "retention.ms": str(topic.retention_ms)}
    config["max.message.bytes"] = "2200000" if topic.ours else "1100000"  # what came in has room for our headers
    if topic.ours:
        config["message.timestamp.type"] = "LogAppendTime"
    return config
