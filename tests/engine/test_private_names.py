"""The private names of Faust and aiokafka we rest on; an upgrade that moves one fails here."""

from __future__ import annotations

import ast
import inspect
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiokafka
import faust
import mode
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy

from streams.engine import private
from streams.engine.scheduler import Coalesce

ROOT = Path(__file__).resolve().parents[2]


def source(item: Any) -> str:
    return inspect.getsource(item)


@pytest.mark.parametrize(("package", "pinned"), [("faust-streaming", "0.15.3"), ("aiokafka", "0.14.0")])
def test_the_versions_are_those_the_names_were_read_in(package: str, pinned: str) -> None:
    assert version(package) == pinned


def test_faust_takes_the_consumer_from_its_transport() -> None:
    assert driver.Transport.Consumer is not None
    assert "self.Consumer(" in source(faust.transport.base.Transport.create_consumer)
    private.install_consumer()
    assert driver.Transport.Consumer is private.StallFreeConsumer


def test_the_stalls_are_still_where_the_consumer_removes_them() -> None:
    assert "self.sleep(1)" in source(base.Consumer._wait_next_records)
    parameters = inspect.signature(driver.Consumer._getmany).parameters
    assert list(parameters) == ["self", "active_partitions", "timeout"]
    assert "_buffered_partitions" in source(base.Consumer)
    assert "_buffered_partitions" in source(base)


def test_a_faust_consumer_has_a_thread_with_aiokafkas_consumer() -> None:
    assert "self._thread = " in source(base.ThreadDelegateConsumer)
    assert "_consumer" in source(driver.AIOKafkaConsumerThread)


def test_the_thread_takes_calls() -> None:
    parameters = inspect.signature(driver.AIOKafkaConsumerThread.call_thread).parameters
    assert list(parameters)[:2] == ["self", "fun"]


def test_aiokafkas_consumer_has_the_parts_we_reach_into() -> None:
    text = source(aiokafka.AIOKafkaConsumer)
    assert "self._coordinator = " in text
    assert "self._fetcher = " in text
    assert "self._client = " in text
    assert "self._fetch_max_wait_ms = " in source(Fetcher)
    for name in ("commit", "highwater", "beginning_offsets"):
        assert callable(getattr(aiokafka.AIOKafkaConsumer, name))


def test_the_coordinator_gives_commits_with_metadata_and_parked_errors() -> None:
    assert list(inspect.signature(GroupCoordinator.fetch_committed_offsets).parameters) == ["self", "partitions"]
    assert inspect.iscoroutinefunction(GroupCoordinator.fetch_committed_offsets)
    assert list(inspect.signature(GroupCoordinator.check_errors).parameters) == ["self"]
    assert not inspect.iscoroutinefunction(GroupCoordinator.check_errors)
    assert aiokafka.structs.OffsetAndMetadata._fields == ("offset", "metadata")


def test_the_client_can_be_told_to_learn_a_topic_now() -> None:
    assert callable(aiokafka.client.AIOKafkaClient.add_topic)
    assert callable(aiokafka.client.AIOKafkaClient.force_metadata_update)


async def test_how_far_a_partition_was_read_is_known() -> None:
    subscription = SubscriptionState()
    subscription.assign_from_user([TopicPartition("t", 0)])
    state = subscription.subscription.assignment.state_value(TopicPartition("t", 0))
    assert not state.has_valid_position
    state.reset_to(7)
    assert (state.has_valid_position, state.position) == (True, 7)
    assert "self.scheduler = " in source(base.Consumer)
    assert "self.scheduler.iterate(records)" in source(base.Consumer.getmany)
    assert "_subscription" in source(aiokafka.AIOKafkaConsumer)


def test_a_crash_of_any_part_reaches_the_app() -> None:
    assert "child._crash(reason)" in source(mode.Service.crash)
    assert list(inspect.signature(mode.Service._crash).parameters) == ["self", "reason"]


def test_faust_asks_the_scheduler_as_we_answer() -> None:
    assert issubclass(Coalesce, DefaultSchedulingStrategy)
    assert list(inspect.signature(DefaultSchedulingStrategy.iterate).parameters) == ["self", "records"]
    for name in ("map_from_records", "records_iterator"):
        assert callable(getattr(DefaultSchedulingStrategy, name))


def _reaches(tree: ast.AST) -> list[str]:
    """Return private attributes asked of anything but `self`: ``x._consumer``, ``self._client._y``."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            continue
        if node.attr.isupper():  # error codes of librdkafka's own: ``KafkaError._SSL``
            continue
        if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os")):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return [name for name in found if not name.endswith(("._replace", "._fields"))]


@pytest.mark.parametrize("room", ["engine", "replay", "commands"])
def test_no_other_file_reaches_into_a_library(room: str) -> None:
    files = [path for path in (ROOT / "streams" / room).glob("*.py") if path.name != "private.py"]
    assert files
    assert [f"{path.name}:{reach}" for path in files for reach in _reaches(ast.parse(path.read_text()))] == []


async def test_a_partition_committed_at_its_beginning_is_read_from_there() -> None:
    sought: list[tuple[TopicPartition, int]] = []

    class Thread:
        async def seek_to_committed(self) -> dict[TopicPartition, int | None]:
            return {TopicPartition("events", 0): 0, TopicPartition("events", 1): 7, TopicPartition("events", 2): None}

        def seek(self, place: TopicPartition, offset: int) -> None:
            sought.append((place, offset))

    consumer: Any = object.__new__(private.StallFreeConsumer)
    consumer._thread = Thread()
    await consumer.seek_to_committed()
    assert sought == [(TopicPartition("events", 0), 0)], "aiokafka itself seeks to the others"
    assert "offset > 0" in source(aiokafka.AIOKafkaConsumer.seek_to_committed), "it leaves out 0 no more: drop ours"
