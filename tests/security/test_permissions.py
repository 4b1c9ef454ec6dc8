"""What a role may not do is named before its first record; a right taken from it later ends it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from schemas import topics
from streams import permissions, roles
from streams.engine import preflight
from streams.engine.app import EXIT_CRASHED
from streams.settings import Settings
from tests.brokers import eventually
from tests.commands.conftest import Run, run
from tests.engine import traffic
from tests.engine.running import Cluster
from tests.kafka.secured import STRANGER, USER, SecuredKafka, start_secured

__all__ = ["run"]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker with our topics."""
    made = start_secured(tmp_path_factory.mktemp("permissions"))
    made.create_topics(preflight.planned(Settings(partitions=1)))
    yield made
    made.close()


@pytest.fixture
def stranger(broker: SecuredKafka) -> Iterator[Settings]:
    """A user without any right, as the settings of a role."""
    yield Settings(**broker.way("SCRAM-SHA-512", STRANGER))  # type: ignore[arg-type]  # text, as from the environment
    broker.forbid(STRANGER)


@pytest.mark.parametrize("role", roles.ROLES)
def test_every_right_a_role_lacks_is_named_at_once(stranger: Settings, role: str) -> None:
    with pytest.raises(preflight.PreflightError) as refused:
        preflight.check_role(role, stranger)
    text = str(refused.value)
    for topic, operations in permissions.TOPICS[role].items():
        assert f"{', '.join(map(permissions.kafka_name, operations))} on topic {topic.name}" in text
    assert ("Read on group driftgauge-" in text) == (role not in permissions.GROUPLESS)
    assert f"driftgauge acls {role} --principal" in text


@pytest.mark.parametrize("role", roles.ROLES)
def test_the_rights_of_the_table_are_enough_and_one_less_is_not(
    broker: SecuredKafka, stranger: Settings, role: str
) -> None:
    broker.allow_role(STRANGER, role)
    assert topics.ALERTS.name in preflight.check_role(role, stranger) or role == "forward"
    broker.forbid(STRANGER)
    left_out, *rest = permissions.TOPICS[role]
    for topic in rest:
        broker.allow(STRANGER, topic.name, permissions.TOPICS[role][topic])
    with pytest.raises(preflight.PreflightError, match=rf"on topic {left_out.name}") as refused:
        preflight.check_role(role, stranger)
    assert not [topic.name for topic in rest if f"on topic {topic.name}" in str(refused.value)]


def test_a_limit_that_is_too_low_is_named_with_what_it_has_to_be(broker: SecuredKafka) -> None:
    settings = Settings(bootstrap_servers=broker.bootstrap_servers)
    preflight.check_role("detect", settings)
    _limit(broker, topics.RESULTS.name, "20000")
    _limit(broker, topics.EVENTS.name, "5000000")
    try:
        with pytest.raises(preflight.PreflightError) as refused:
            preflight.check_role("detect", settings)
    finally:
        _limit(broker, topics.RESULTS.name, None)
        _limit(broker, topics.EVENTS.name, None)
    text = str(refused.value)
    assert f"{topics.RESULTS.name} takes messages up to 20000 bytes: set its max.message.bytes to 1000000" in text
    assert re.search(rf"{topics.DEAD.name} takes .* to 5000000", text), "a dead letter holds the whole message"
    preflight.check_role("detect", settings)


def _limit(broker: SecuredKafka, topic: str, value: str | None) -> None:
    operation = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
    entry = ConfigEntry("max.message.bytes", value or "", incremental_operation=operation)
    client = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    changed = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    [future] = client.incremental_alter_configs([changed]).values()
    future.result(20)


def test_a_role_without_rights_ends_with_2_and_is_not_left_idle(broker: SecuredKafka) -> None:
    way = broker.way("SCRAM-SHA-512", STRANGER)
    ended = subprocess.run(
        [sys.executable, "-m", "streams.roles", "notify"],
        env={**os.environ, **broker.environment(way)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert f"Read on topic {topics.ALERTS.name}; Read on group driftgauge-notify" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_doctor_names_what_one_role_may_not_do(broker: SecuredKafka, run: Run) -> None:
    way = broker.environment(broker.way("SCRAM-SHA-512", STRANGER))
    broker.allow_role(STRANGER, "panel")
    try:
        shown = run("doctor", "--json", "--role", "panel", "--role", "notify", **way)
    finally:
        broker.forbid(STRANGER)
    found = {line["system"]: line for line in shown.json}
    assert found["Kafka"]["state"] == "ok"
    assert "SASL_SSL, SCRAM-SHA-512" in found["Kafka"]["what to do"]
    assert found["rights of panel"]["state"] == "ok"
    assert found["rights of notify"]["state"] == "wrong"
    assert "Read on group driftgauge-notify" in found["rights of notify"]["what to do"]
    assert shown.code == 2
    refused = run("doctor", "--json", **way | {"DRIFTGAUGE_SASL_PASSWORD": "another"})
    [kafka] = [line for line in refused.json if line["system"] == "Kafka"]
    assert (kafka["state"], refused.code) == ("wrong", 2)
    assert "DRIFTGAUGE_SASL_PASSWORD" in kafka["what to do"]


@pytest.mark.scenario
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "taken", ["input", pytest.param("group", marks=pytest.mark.long), pytest.param("output", marks=pytest.mark.long)]
)
def test_a_right_taken_from_a_running_role_ends_it(tmp_path: Path, taken: str) -> None:
    folder = tmp_path / "kafka"
    folder.mkdir()
    broker = start_secured(folder)
    broker.allow_role(USER, "detect")
    cluster = Cluster(broker, tmp_path)
    try:
        cluster.publish_baselines(["alpha"])
        cluster.environment |= broker.environment(broker.way("PLAIN"))
        worker = cluster.start("detect")
        messages = traffic.messages(["alpha"], n_partitions=2, minutes=10)
        cluster.produce(messages[: len(messages) // 2])
        eventually(lambda: cluster.results(), 60.0)
        broker.forbid(USER)
        for topic, operations in permissions.TOPICS["detect"].items():
            if topic is not {"input": topics.EVENTS, "output": topics.EVIDENCE}.get(taken):
                broker.allow(USER, topic.name, operations)
        if taken != "group":
            broker.allow(USER, "driftgauge-detect", ["READ"], ResourceType.GROUP)
        cluster.produce(messages[len(messages) // 2 :])
        assert worker.wait(60) == EXIT_CRASHED, cluster.log("detect")
        assert "uthorization" in cluster.log("detect")
    finally:
        cluster.close()
        broker.close()


def test_the_commands_for_a_principal_allow_exactly_the_table() -> None:
    lines = permissions.commands("detect", "User:drift worker", "driftgauge", "kafka:9092")
    assert all(line.startswith("kafka-acls.sh --bootstrap-server kafka:9092 --add") for line in lines)
    assert all("--allow-principal 'User:drift worker'" in line for line in lines)
    by_topic = {match[1]: line for line in lines if (match := re.search(r"--topic (\S+)", line))}
    assert set(by_topic) == {topic.name for topic in permissions.TOPICS["detect"]}
    assert "--operation Read --operation Write --operation Delete" in by_topic[topics.snapshots("judge").name]
    assert lines[-1].endswith("--operation Read --group driftgauge-detect")
