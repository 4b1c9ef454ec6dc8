"""Baselines and monitors change through the judge: from a window's start on, for one model, never half a window."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from schemas import monitors
from schemas.evidence import Apply, Promote
from streams.catalogue import Catalogue, monitor_record, records_of
from streams.engine import control
from streams.engine.control import command, publish, read_catalogue
from streams.engine.preflight import PreflightError
from tests.brokers import Embedded, eventually
from tests.engine import traffic
from tests.engine.running import Cluster, newest
from tests.engine.traffic import MINUTE_MS, START_MS

MODELS = ("alpha", "beta")


def _prepared(cluster: Cluster) -> list[traffic.Message]:
    """Publish a baseline and a first monitor for each model; return traffic of both."""
    records = []
    for model in MODELS:
        records += records_of(traffic.baseline(model), 0)
        records.append(monitor_record(replace(traffic.monitor(model), monitor_version=0)))
    second = replace(traffic.baseline("alpha", seed=2), baseline_id="alpha@2")
    asyncio.run(publish(cluster.settings, [*records, *records_of(second, None)]))
    return traffic.messages(MODELS, n_partitions=2, minutes=24)


def _watermark(messages: list[traffic.Message]) -> int:
    """Return a time the rows of these messages have reached: what they hold ends within a minute of it."""
    return START_MS + (len(messages) * 24 // (24 * 2 * 45)) * MINUTE_MS


def _base(cluster: Cluster, model: str) -> dict[int, tuple[str, int, list[str]]]:
    """Return (baseline, monitor version, flags) of a model's base windows by start."""
    return {
        key[4]: (result.baseline_id, result.monitor_version, result.flags)
        for key, result in newest(cluster.results()).items()
        if key[0] == model and key[3] == 1
    }


def _one(value: bool) -> Callable[[Catalogue], bool]:
    return lambda _catalogue: value


def test_a_promoted_baseline_holds_from_a_window_boundary_on(cluster: Cluster) -> None:
    messages = _prepared(cluster)
    half = len(messages) // 2
    cluster.produce(messages[:half])
    worker = cluster.start("detect")
    eventually(lambda: len(_base(cluster, "alpha")) >= 8, 60.0)

    def took(catalogue: Catalogue) -> bool:
        return len(catalogue.eras("alpha")) == 2

    assert asyncio.run(command(cluster.settings, Promote("alpha", "alpha@2"), took))
    catalogue = cluster.catalogue()
    first, second = catalogue.eras("alpha")
    assert (first.baseline.baseline_id, second.baseline.baseline_id) == ("alpha@1", "alpha@2")
    assert second.start_ms % MINUTE_MS == 0
    assert second.start_ms > max(_base(cluster, "alpha")), "no window that has been judged changes"
    assert len(catalogue.eras("beta")) == 1

    cluster.produce(messages[half:])
    last = START_MS + 23 * MINUTE_MS
    eventually(lambda: {last} <= _base(cluster, "alpha").keys() & _base(cluster, "beta").keys(), 60.0)
    judged = _base(cluster, "alpha")
    assert {start: kept[0] for start, kept in judged.items()} == {
        start: "alpha@2" if start >= second.start_ms else "alpha@1" for start in judged
    }
    assert [flags for _, _, flags in judged.values() if flags] == []
    assert {kept[0] for kept in _base(cluster, "beta").values()} == {"beta@1"}
    mixed = [result for result in newest(cluster.results()).values() if result.flags]
    assert all(result.scale > 1 and result.state == "insufficient" for result in mixed)
    assert all(result.window_start < second.start_ms < result.window_end for result in mixed)
    assert cluster.stop(worker) == 0


def test_an_applied_monitor_holds_from_a_window_boundary_on(cluster: Cluster) -> None:
    messages = _prepared(cluster)
    half = len(messages) // 2
    cluster.produce(messages[:half])
    worker = cluster.start("detect")
    eventually(lambda: len(_base(cluster, "alpha")) >= 8, 60.0)
    changed = replace(traffic.monitor("alpha"), monitor_version=0, sensitivity="strict", owner="team-a")

    def took(catalogue: Catalogue) -> bool:
        return catalogue.monitor("alpha").monitor_version == 1

    assert asyncio.run(command(cluster.settings, Apply("alpha", monitors.encode(changed)), took))
    catalogue = cluster.catalogue()
    applied = catalogue.monitor("alpha")
    assert (applied.sensitivity, applied.owner) == ("strict", "team-a")
    assert applied.effective_from % MINUTE_MS == 0
    assert applied.effective_from > max(_base(cluster, "alpha"))
    assert catalogue.monitor("beta").monitor_version == 0

    cluster.produce(messages[half:])
    last = START_MS + 23 * MINUTE_MS
    eventually(lambda: {last} <= _base(cluster, "alpha").keys() & _base(cluster, "beta").keys(), 60.0)
    judged = _base(cluster, "alpha")
    assert {start: kept[1] for start, kept in judged.items()} == {
        start: int(start >= applied.effective_from) for start in judged
    }
    assert [flags for _, _, flags in judged.values() if flags] == []
    assert {kept[1] for kept in _base(cluster, "beta").values()} == {0}
    assert cluster.stop(worker) == 0


def test_a_command_without_a_worker_is_queued(
    embedded_cluster: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = embedded_cluster()
    _prepared(cluster)
    monkeypatch.setattr(control, "EFFECT_TIMEOUT_S", 0.5)

    def took(catalogue: Catalogue) -> bool:
        return any(era.baseline.baseline_id == "alpha@2" for era in catalogue.eras("alpha"))

    assert not asyncio.run(command(cluster.settings, Promote("alpha", "alpha@2"), took))
    worker = cluster.start("detect")
    eventually(lambda: took(cluster.catalogue()), 60.0, "the command is carried out once a worker runs")
    assert cluster.stop(worker) == 0


async def test_what_was_published_is_read_back(embedded_cluster: Callable[..., Cluster]) -> None:
    cluster = embedded_cluster()
    baseline, monitor = traffic.baseline("alpha"), traffic.monitor("alpha")
    await publish(cluster.settings, [*records_of(baseline, 0), monitor_record(monitor)])
    catalogue = await read_catalogue(cluster.settings)
    assert catalogue.baseline("alpha@1") == baseline
    assert catalogue.monitor("alpha") == monitor
    assert await command(cluster.settings, Promote("alpha", "alpha@1"), _one(True))


async def test_without_topics_nothing_is_published(embedded_broker: Callable[..., Embedded]) -> None:
    broker = embedded_broker({"drift.baselines.v1": 1})
    settings = Cluster.settings_for(broker)
    with pytest.raises(PreflightError, match=r"drift\.monitors\.v1.*driftgauge topics create"):
        await publish(settings, [])
    with pytest.raises(PreflightError, match=r"drift\.monitors\.v1"):
        await read_catalogue(settings)
