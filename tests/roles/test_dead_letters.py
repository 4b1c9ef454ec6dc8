"""Dead letters of the roles: whole, unless a model has something to hide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas import topics
from schemas.dead import KEPT, read_dead
from schemas.monitors import FeatureMonitor, Monitor
from schemas.records import PlainRecord
from streams.catalogue import Catalogue
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.engine import preflight
from streams.engine.agent import StatefulAgent
from streams.engine.outbox import Output
from streams.roles import detect, mapped
from streams.roles import parts as parts_module
from streams.roles.parts import Parts
from streams.settings import Settings
from tests.brokers import eventually
from tests.engine.running import Cluster
from tests.engine.traffic import Message
from tests.real import require_real

SECRET = Monitor("secret", 1, features={"city": FeatureMonitor(sensitive=True)})
OPEN = Monitor("open", 1)
VALUE = b'{"model": "secret", "features": {"city": "Lyon"'


def _record(topic: str, key: bytes | None) -> PlainRecord:
    return PlainRecord(topic, 0, 7, 0, VALUE, key)


def _kept(output: Output) -> bool:
    headers = dict(output.headers)
    assert (output.value == VALUE) is (headers[KEPT] == b"1")
    return output.value == VALUE


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Let roles be put together without a broker: all topics are there, and nothing is sent."""
    monkeypatch.setattr(preflight, "check_role", lambda _role, settings: preflight.planned(settings))

    async def no_monitors(_settings: Settings) -> Catalogue:
        return Catalogue()

    monkeypatch.setattr(mapped, "read_monitors", no_monitors)
    monkeypatch.setattr(parts_module, "Outbox", lambda _settings, _leave: None)
    return Settings()


def test_the_value_stays_behind_once_a_model_has_something_to_hide(unconnected: Settings) -> None:
    parts = Parts("store", unconnected)
    assert _kept(parts.dead(_record(topics.FEEDBACK.name, None), "store_rejected", "x"))
    parts.catalogue.add_monitor(SECRET)
    parts.catalogue.add_monitor(OPEN)
    assert not _kept(parts.dead(_record(topics.FEEDBACK.name, None), "store_rejected", "x"))
    assert not _kept(parts.dead(_record(topics.RESULTS.name, b"secret"), "store_rejected", "x"))
    assert _kept(parts.dead(_record(topics.RESULTS.name, b"open"), "store_rejected", "x"))
    assert not _kept(parts.dead(_record(topics.SPANS.name, b"open"), "spans_rejected", "x", keep_value=False))


@pytest.mark.parametrize("agent_name", ["profile", "judge", "learn"])
def test_a_poisonous_record_is_not_copied_either(
    unconnected: Settings, monkeypatch: pytest.MonkeyPatch, agent_name: str
) -> None:
    made: list[Parts] = []

    class Kept(Parts):
        """Parts that this test can reach."""

        def follow_control(self) -> None:
            """Follow nothing: what the catalogue knows is said here."""
            made.append(self)

    monkeypatch.setattr(detect, "Parts", Kept)
    app = detect.build(unconnected)
    [agent] = [agent for agent in app.agents_of_role if agent.name == agent_name]
    assert isinstance(agent, StatefulAgent)
    [letter] = agent._intake._poisonous(_record(agent.topic, b"secret"), "it failed twice")
    assert _kept(letter)
    made[0].catalogue.add_monitor(SECRET)
    [letter] = agent._intake._poisonous(_record(agent.topic, b"secret"), "it failed twice")
    assert not _kept(letter)


def test_the_store_reads_the_monitors_before_the_first_record(
    embedded_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    require_real("chdb")
    cluster = embedded_cluster()
    cluster.publish_monitor(SECRET)
    cluster.produce([Message(0, VALUE, [])], topics.FEEDBACK.name)
    with EmbeddedClickHouse(tmp_path / "store") as store:
        worker = cluster.start("store", DRIFTGAUGE_CLICKHOUSE_URL=store.url)
        [record] = eventually(lambda: cluster.records(topics.DEAD.name), 60.0)
        assert cluster.stop(worker) == 0
    letter = read_dead(record)
    assert (letter.topic, letter.offset, letter.kept, record.value) == (topics.FEEDBACK.name, 0, False, None)
