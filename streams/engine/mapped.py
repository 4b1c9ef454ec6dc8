"""Mapped topics on the cluster: which there are, and the snapshot topic each needs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from schemas.sources import readable
from schemas.topics import profile_of, snapshots
from streams.catalogue import Catalogue
from streams.engine.connection import librdkafka
from streams.engine.preflight import TIMEOUT_S, config
from streams.settings import Settings

log = logging.getLogger(__name__)


def mapped(catalogue: Catalogue, found: Mapping[str, int]) -> dict[str, int]:
    """Return the topics of a cluster that sources read, with their numbers of partitions."""
    sources = [source for _, source in catalogue.sources()]
    return {
        topic: n_partitions
        for topic, n_partitions in sorted(found.items())
        if n_partitions and readable(topic) and any(source.reads(topic) for source in sources)
    }


def absent(catalogue: Catalogue, found: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the topics that monitors name and the cluster lacks, each with the models that wait for it."""
    waiting: dict[str, list[str]] = {}
    for model in catalogue.models():
        for source in catalogue.monitor(model).sources:
            if source.topic is not None and source.topic not in found:
                waiting.setdefault(source.topic, []).append(model)
    return waiting


def short(topics: Mapping[str, int], found: Mapping[str, int]) -> dict[str, str]:
    """Return the snapshot topics that are missing or too small, each with what is wrong."""
    wrong = {}
    for topic, n_partitions in topics.items():
        name = snapshots(profile_of(topic)).name
        if found.get(name, 0) < n_partitions:
            have = f"{found[name]} partitions, its input {topic} has {n_partitions}" if name in found else "missing"
            wrong[name] = have
    return wrong


def prepare(settings: Settings, topics: Mapping[str, int], found: Mapping[str, int]) -> dict[str, str]:
    """Make the snapshot topics that mapped topics lack, and enlarge those too small; return why one could not be.

    Several workers may do this at once.
    """
    wanted = {snapshots(profile_of(topic)).name: (topic, n) for topic, n in topics.items()}
    refused: dict[str, str] = {}
    client = AdminClient(librdkafka(settings) | {"log_level": 0})
    for name in short(topics, found):
        topic, n_partitions = wanted[name]
        if settings.embedded:
            client.list_topics(name, TIMEOUT_S)  # that makes it
            continue
        made: Any
        if name in found:
            made = client.create_partitions([NewPartitions(name, n_partitions)])
        else:
            own = config(snapshots(profile_of(topic)))
            made = client.create_topics([NewTopic(name, n_partitions, settings.replication, config=own)])
        try:
            made[name].result(TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in (KafkaError.TOPIC_ALREADY_EXISTS, KafkaError.INVALID_PARTITIONS):
                refused[topic] = f"{name} could not be made: {error.args[0].str()}; run `driftgauge topics create`"
    return refused
