"""What every worker knows of the control topics: one bad record hides nothing else, sensitive values stay behind."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import numpy as np
import pytest

from schemas import baselines, control, monitors, topics
from schemas.control import Chunk, Effective
from schemas.monitors import FeatureMonitor, Monitor
from schemas.records import PlainRecord
from schemas.sources import Mapping, Source
from streams.catalogue import FOREVER, Catalogue, monitor_record, records_of
from tests.engine import traffic

HIDDEN = {"city": FeatureMonitor(sensitive=True)}


def _record(topic: str, key: str, value: bytes, offset: int = 0) -> PlainRecord:
    return PlainRecord(topic, 0, offset, 0, value, key.encode())


def _monitor(monitor: Monitor) -> PlainRecord:
    return _record(*monitor_record(monitor))


def _newer_baseline() -> bytes:
    newer = msgspec.structs.replace(traffic.baseline("beta"), format=99)
    return control.chunks("beta@1", baselines.encode(newer))[0][1]


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (topics.MONITORS.name, b"{not json"),
        (topics.MONITORS.name, b'{"model": "beta", "window": "30s"}'),
        (topics.BASELINES.name, b"\xc1"),
        (topics.BASELINES.name, b"\x91" * 100_000),
        (topics.BASELINES.name, control.encode(Chunk("beta@1", 0, 1, 7, b"damaged"))),
        (topics.BASELINES.name, _newer_baseline()),
    ],
    ids=["no json", "unknown value", "no message", "nested", "corrupt", "newer format"],
)
def test_a_control_record_that_cannot_be_read_is_named_and_skipped(
    caplog: pytest.LogCaptureFixture, topic: str, value: bytes
) -> None:
    catalogue = Catalogue()
    with caplog.at_level(logging.ERROR):
        catalogue.update(_record(topic, "beta/1", value, offset=41))
    assert f"{topic}/0@41" in caplog.text
    for record in (_monitor(Monitor("alpha", 3)), *(_record(*r) for r in records_of(traffic.baseline("alpha"), 0))):
        catalogue.update(record)
    assert catalogue.monitor("alpha").monitor_version == 3
    assert [era.baseline.baseline_id for era in catalogue.eras("alpha")] == ["alpha@1"]


def _keeps(catalogue: Catalogue, key: bytes | None) -> bool:
    return catalogue.keeps_value(PlainRecord(topics.EVENTS.name, 0, 0, 0, b"{", key))


def test_without_sensitive_features_every_value_is_kept() -> None:
    catalogue = Catalogue()
    assert _keeps(catalogue, None)
    catalogue.update(_monitor(Monitor("open")))
    assert _keeps(catalogue, b"anything")


def test_with_sensitive_features_only_a_key_that_names_another_known_model_keeps_the_value() -> None:
    catalogue = Catalogue()
    catalogue.update(_monitor(Monitor("secret", 1, features=HIDDEN)))
    catalogue.update(_monitor(Monitor("secret", 2)))  # what was sensitive once may still stand in old records
    catalogue.update(_monitor(Monitor("open")))
    kept = {key: _keeps(catalogue, key) for key in (b"open", b"secret", b"unknown", b"\xff", b"", None)}
    assert kept == {b"open": True, b"secret": False, b"unknown": False, b"\xff": False, b"": False, None: False}


def test_a_model_whose_monitor_cannot_be_read_counts_as_sensitive() -> None:
    catalogue = Catalogue()
    catalogue.update(_monitor(Monitor("beta", 1)))
    catalogue.update(_monitor(Monitor("open")))
    value = monitors.encode(Monitor("beta", 2, features=HIDDEN)).replace(b'"auto"', b'"30s"')
    catalogue.update(_record(topics.MONITORS.name, "beta/2", value))
    assert (_keeps(catalogue, b"beta"), _keeps(catalogue, b"open"), _keeps(catalogue, None)) == (False, True, False)


def test_mappings_follow_the_versions_of_monitors() -> None:
    def source(**more: Any) -> Source:
        return msgspec.convert({"topic": "t", "fields": {"time": "at", "features": "in"}, **more}, Source)

    first, second = source(), source(since="2026-03-01T12:00:00Z")
    catalogue = Catalogue()
    catalogue.add_monitor(Monitor("m", monitor_version=1, sources=[first]))
    before = catalogue.mappings("t")
    assert before is catalogue.mappings("t")
    catalogue.add_monitor(Monitor("m", monitor_version=2, effective_from=10, sources=[first]))
    catalogue.add_monitor(Monitor("m", monitor_version=3, effective_from=20, sources=[second]))
    catalogue.add_monitor(Monitor("n", monitor_version=1, sources=[source(topic="other")]))
    assert before == (Mapping("m", 0, FOREVER, first),)
    assert catalogue.mappings("t") == (Mapping("m", 0, 20, first), Mapping("m", 1_772_366_400_000, FOREVER, second))
    assert catalogue.mappings("drift.events.v1") == ()


def test_the_rules_used_last_are_kept_and_others_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = traffic.baseline("alpha"), traffic.baseline("beta")
    of = Catalogue()
    monkeypatch.setattr("streams.catalogue.MAX_RULE_CELLS", of.layout(one).size)
    first = of.rule(one, Monitor("alpha"))
    assert of.rule(one, Monitor("alpha")) is first
    of.rule(other, Monitor("beta"))
    assert of.rule(one, Monitor("alpha")) is not first


def test_the_future_guard_is_a_function_of_the_record_time() -> None:
    of = Catalogue()
    hour, minute = 3_600_000, 60_000
    assert of.guards_ms("alpha", np.array([5]), hour) == hour  # not described yet
    of.add_baseline(traffic.baseline("alpha"))
    of.add_effective(Effective("alpha", "alpha@1", 10 * minute))
    of.add_monitor(Monitor("alpha", monitor_version=1, window="1m"))
    of.add_monitor(Monitor("alpha", monitor_version=2, window="15m", effective_from=20 * minute))
    times = np.array([0, 10, 19, 20, 99]) * minute
    expected = [hour, minute, minute, 15 * minute, 15 * minute]
    assert np.broadcast_to(of.guards_ms("alpha", times, hour), 5).tolist() == expected
    assert np.broadcast_to(of.guards_ms("alpha", times, minute), 5).tolist() == [minute] * 5
