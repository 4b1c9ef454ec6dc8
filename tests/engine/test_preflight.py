"""Before the first record: what is missing or does not fit is named, and making topics is repeatable."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from schemas.topics import (
    ALERTS,
    ALL,
    BASELINES,
    DEAD,
    EVENTS,
    EVIDENCE,
    LEARNING,
    MONITORS,
    RESULTS,
    SNAPSHOTS,
    snapshots,
)
from streams.engine import preflight
from streams.engine.preflight import PreflightError, UnreachableError, check, create, differences, existing, planned
from streams.settings import Settings
from tests.brokers import Embedded, Kafka
from tests.engine.running import Cluster, free_port


def test_the_plan_has_every_topic_and_snapshots_as_many_partitions_as_their_input() -> None:
    plan = planned(Settings(partitions=6))
    assert set(plan) == {topic.name for topic in ALL}
    assert plan[EVENTS.name] == plan[snapshots("profile").name] == 6
    assert plan[EVIDENCE.name] == plan[snapshots("judge").name]
    assert plan[BASELINES.name] == plan[MONITORS.name] == 1


def test_a_broker_that_is_down_is_told_with_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "TIMEOUT_S", 1.0)
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UnreachableError, match=f"{address}.*DRIFTGAUGE_BOOTSTRAP_SERVERS"):
        existing(Settings(bootstrap_servers=address))


def test_missing_topics_are_named_with_the_command(embedded_broker: Callable[..., Embedded]) -> None:
    settings = Cluster.settings_for(embedded_broker({EVENTS.name: 2}))
    assert check(settings, [EVENTS]) == {EVENTS.name: 2}
    with pytest.raises(PreflightError, match=rf"{RESULTS.name}.*driftgauge topics create"):
        check(settings, [EVENTS, RESULTS])


def test_snapshots_with_another_number_of_partitions_are_refused(embedded_broker: Callable[..., Embedded]) -> None:
    name = snapshots("profile").name
    settings = Cluster.settings_for(embedded_broker({EVENTS.name: 2, name: 3}))
    with pytest.raises(PreflightError, match=rf"{name} has 3 partitions and its input {EVENTS.name} has 2"):
        check(settings, [EVENTS])


def test_topics_are_made_once_with_their_settings(kafka: Kafka) -> None:
    if existing(Settings(bootstrap_servers=kafka.bootstrap_servers)).keys() & {topic.name for topic in ALL}:
        pytest.skip("not demanded: this broker has our topics already")
    settings = Settings(bootstrap_servers=kafka.bootstrap_servers, partitions=3)
    done = create(settings)
    assert set(done) == {topic.name for topic in ALL}
    assert set(done.values()) == {"created"}
    assert set(create(settings).values()) == {"there already"}
    found = check(settings, ALL)
    assert {name: found[name] for name in planned(settings)} == planned(settings)
    config = _config(kafka, BASELINES.name)
    assert (config["cleanup.policy"], config["retention.ms"]) == ("compact", "-1")
    assert config["message.timestamp.type"] == "LogAppendTime"
    assert _config(kafka, EVENTS.name)["message.timestamp.type"] == "CreateTime", "people's topics keep their own time"
    assert _config(kafka, snapshots("judge").name)["cleanup.policy"] == "delete"


def test_a_partition_count_that_differs_is_told_except_of_peoples_topics(
    embedded_broker: Callable[..., Embedded],
) -> None:
    profile, judge = snapshots("profile").name, snapshots("judge").name
    counts = {EVENTS.name: 5, profile: 5, EVIDENCE.name: 2, judge: 3, RESULTS.name: 1, BASELINES.name: 1}
    settings = Cluster.settings_for(embedded_broker(counts))
    found = differences(settings, existing(settings))
    assert {name: found[name] for name in counts} == {
        EVENTS.name: "",
        profile: "",
        EVIDENCE.name: "",
        judge: "3 partitions instead of 2",
        RESULTS.name: "1 partitions instead of 2",
        BASELINES.name: "",
    }
    assert found[MONITORS.name] == "missing"


def test_a_cleanup_policy_that_differs_is_told(kafka: Kafka) -> None:
    settings = Settings(bootstrap_servers=kafka.bootstrap_servers, partitions=3)
    create(settings)
    _set_cleanup(kafka, DEAD.name, "compact")
    _set_cleanup(kafka, ALERTS.name, "delete,compact")
    found = differences(settings, existing(settings))
    assert found[DEAD.name] == "cleanup.policy compact instead of delete"
    assert (found[ALERTS.name], found[BASELINES.name]) == ("", ""), "the order of policies does not matter"
    _set_cleanup(kafka, DEAD.name, "delete")
    assert differences(settings, existing(settings))[DEAD.name] == ""


def test_what_has_to_stay_is_limited_by_neither_age_nor_size() -> None:
    for topic in (BASELINES, MONITORS, *SNAPSHOTS):
        made = preflight.config(topic)
        assert (made["retention.ms"], made["retention.bytes"]) == ("-1", "-1"), topic.name
    assert "retention.bytes" not in preflight.config(EVENTS)


def test_rows_of_slow_models_wait_two_months() -> None:
    assert preflight.config(LEARNING)["retention.ms"] == str(60 * 86_400_000)


def _set_cleanup(kafka: Kafka, topic: str, policy: str) -> None:
    client = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    entry = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
    changed = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    [future] = client.incremental_alter_configs([changed]).values()
    future.result(20)


def _config(kafka: Kafka, topic: str) -> dict[str, str]:
    client = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    [future] = client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return {name: str(entry.value) for name, entry in future.result(20).items()}
