"""The commands on a running line: topics, baselines, monitors, replay, dead letters, alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from schemas import topics
from schemas.monitors import FeatureMonitor, Monitor
from streams.commands.monitors import needing_a_baseline
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.engine import control
from tests.brokers import Embedded, eventually
from tests.commands.conftest import Run
from tests.engine import traffic
from tests.engine.running import Cluster, newest
from tests.engine.traffic import MINUTE_MS, START_MS
from tests.sinks.alerts import alert

ROWS = 12_000
On = Callable[..., Run]


def _table(rng: np.random.Generator, n_rows: int, minutes: int, shift_from: int = 1_000) -> pa.Table:
    """Return rows over some minutes; income moves from a minute on."""
    minute = np.sort(rng.integers(0, minutes * MINUTE_MS, n_rows))
    shift = np.where(minute // MINUTE_MS >= shift_from, 20_000.0, 0.0)
    return pa.table(
        {
            "timestamp": pa.array(START_MS + minute, pa.timestamp("ms", "UTC")),
            "age": rng.normal(40, 9, n_rows).round(),
            "income": rng.normal(32_000, 9_000, n_rows).round(2) + shift,
            "city": rng.choice(traffic.CITIES, n_rows, p=[0.5, 0.3, 0.2]),
            "target": rng.integers(0, 2, n_rows),
        }
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A reference file and a file in which income drifts from minute 15 on."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(5)
    reference, monitored = folder / "reference.parquet", folder / "march.parquet"
    pq.write_table(_table(rng, ROWS, 20), reference)
    pq.write_table(_table(rng, ROWS, 20, shift_from=15), monitored)
    return reference, monitored


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait half a second only for a worker that is not there."""
    monkeypatch.setattr(control, "EFFECT_TIMEOUT_S", 0.5)


def test_topics_are_checked_and_told(on: On, embedded_cluster: Callable[..., Cluster]) -> None:
    checked = on(embedded_cluster())("topics", "check", "--json")
    assert checked.code == 0
    assert {row["topic"] for row in checked.json} == {topic.name for topic in topics.ALL}
    assert {row["state"] for row in checked.json} == {"ok"}
    assert "drift.events.v1" in on(embedded_cluster())("topics", "check").out
    created = on(embedded_cluster())("topics", "create", "--json")
    assert created.code == 0
    assert {row["result"] for row in created.json} == {"there already"}


def test_missing_topics_are_exit_code_2(run: Run, embedded_broker: Callable[..., Embedded]) -> None:
    address = embedded_broker({"drift.events.v1": 4}).bootstrap_servers
    checked = run("topics", "check", "--json", DRIFTGAUGE_BOOTSTRAP_SERVERS=address)
    assert checked.code == 2
    states = {row["topic"]: row["state"] for row in checked.json}
    assert (states["drift.events.v1"], states["drift.results.v1"]) == ("ok", "missing")
    listed = run("baseline", "list", DRIFTGAUGE_BOOTSTRAP_SERVERS=address)
    assert listed.code == 2
    assert "driftgauge topics create" in listed.err


@pytest.mark.usefixtures("short")
def test_baselines_are_made_listed_shown_and_promoted(
    on: On, embedded_cluster: Callable[..., Cluster], files: tuple[Path, Path]
) -> None:
    cluster = embedded_cluster()
    driftgauge = on(cluster)
    reference = str(files[0])
    assert driftgauge("baseline", "list", "--json").json == []

    made = driftgauge("baseline", "create", reference, "--model", "loans", "--ignore", "target")
    assert made.code == 0, made
    assert "loans@1 judges loans from the beginning" in made.out
    stored = driftgauge("baseline", "create", reference, "--model", "loans", "--ignore", "target", "--store-only")
    assert stored.code == 0, stored
    listed = driftgauge("baseline", "list", "--json").json
    assert [(row["baseline"], row["rows"], row["in use"]) for row in listed] == [
        ("loans@1", ROWS, "from the beginning"),
        ("loans@2", ROWS, "stored"),
    ]
    shown = driftgauge("baseline", "show", "loans@2", "--json").json
    assert {row["feature"]: row["kind"] for row in shown} == {
        "age": "numeric",
        "income": "numeric",
        "city": "categorical",
    }
    assert "loans@2" in driftgauge("baseline", "show", "loans@2").out

    queued = driftgauge("baseline", "promote", "loans@2")
    assert queued.code == 0
    assert "queued" in queued.out
    worker = cluster.start("detect")
    eventually(lambda: len(cluster.catalogue().eras("loans")) > 0, 60.0)
    eventually(lambda: cluster.catalogue().eras("loans")[-1].baseline.baseline_id == "loans@2", 60.0)
    assert cluster.stop(worker) == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("baseline", "show", "loans@7"), "loans@7"),
        (("baseline", "promote", "loans@7"), "loans@7"),
        (("baseline", "create", "none.parquet", "-m", "loans"), "none.parquet"),
        (("baseline", "create", "{reference}", "-m", "loans", "--time", "when"), "--time when"),
        (("baseline", "create", "{reference}", "-m", "loans", "--prediction", "score"), "--prediction score"),
        (("baseline", "create", "{reference}", "-m", "loans", "--ignore", "nothing"), "--ignore nothing"),
        (("replay", "--model", "loans"), "loans"),
        (("replay", "{reference}", "--reference", "{reference}", "--window", "2h"), "--window 2h"),
        (("replay", "{reference}", "--reference", "{reference}", "--budget", "-1"), "--budget"),
        (("replay", "{reference}", "--reference", "{reference}", "--sensitivity", "keen"), "--sensitivity"),
        (("alerts", "list", "--state", "loud"), "--state loud"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_error_names_what_is_wrong(
    on: On, shared_embedded_cluster: Cluster, files: tuple[Path, Path], arguments: tuple[str, ...], named: str
) -> None:
    shown = on(shared_embedded_cluster)(*(argument.format(reference=files[0]) for argument in arguments))
    assert shown.code == 2, shown
    assert named in shown.err
    assert "Traceback" not in shown.err


@pytest.fixture(scope="module")
def shared_embedded_cluster(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One cluster for tests that only read."""
    broker = Embedded({})
    cluster = Cluster(broker, tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()
    broker.close()


@pytest.mark.usefixtures("short")
def test_a_monitor_is_applied_shown_and_listed(
    on: On, embedded_cluster: Callable[..., Cluster], files: tuple[Path, Path], tmp_path: Path
) -> None:
    cluster = embedded_cluster()
    driftgauge = on(cluster)
    path = tmp_path / "loans.yaml"
    path.write_text("model: loans\nowner: team-loans\nbudget: 0.5\nfeatures:\n  city: {sensitive: true}\n")
    driftgauge("baseline", "create", str(files[0]), "--model", "loans", "--ignore", "target")

    dry = driftgauge("monitor", "apply", str(path), "--dry-run")
    assert dry.code == 0, dry
    for word in ("owner", "team-loans", "budget", "0.5", "sensitive"):
        assert word in dry.out
    assert cluster.catalogue().monitor("loans").owner is None, "a dry run changes nothing"
    assert "Queued" in driftgauge("monitor", "apply", str(path)).out
    worker = cluster.start("detect")
    eventually(lambda: cluster.catalogue().monitor("loans").owner == "team-loans", 60.0)
    assert cluster.stop(worker) == 0

    shown = yaml.safe_load(driftgauge("monitor", "show", "loans").out)
    assert (shown["owner"], shown["budget"], shown["features"]) == ("team-loans", 0.5, {"city": {"sensitive": True}})
    [row] = driftgauge("monitor", "list", "--json").json
    assert (row["model"], row["version"], row["owner"]) == ("loans", 1, "team-loans")
    assert "nothing changes" in driftgauge("monitor", "apply", str(path)).out


@pytest.mark.usefixtures("short")
def test_applying_says_what_needs_a_new_baseline_and_what_has_no_effect_yet(
    on: On, embedded_cluster: Callable[..., Cluster], files: tuple[Path, Path], tmp_path: Path
) -> None:
    driftgauge = on(embedded_cluster())
    path = tmp_path / "loans.yaml"
    sensitive = "features:\n  city: {sensitive: true}\n  age: {type: categorical}\n  income: {type: numeric}\n"
    path.write_text(f"model: loans\n{sensitive}")
    assert "new baseline" not in driftgauge("monitor", "apply", str(path), "--dry-run").out, "there is none yet"

    driftgauge("baseline", "create", str(files[0]), "--model", "loans", "--ignore", "target")
    told = driftgauge("monitor", "apply", str(path)).out
    assert "city: its levels are hidden from now on, but loans@1 was built without that" in told
    assert "age: loans@1 was built with age as numeric" in told
    assert "driftgauge baseline create FILE --model loans" in told
    assert "income: " not in told, "it is numeric already"
    assert "has no effect" not in told

    path.write_text("model: loans\nversions: learn\nbaseline: auto\nroutes: [slack-credit]\n")
    told = driftgauge("monitor", "apply", str(path), "--dry-run").out
    assert "versions: learn has no effect in this version" in told
    assert "routes: ['slack-credit'] has no effect in this version" in told
    assert "baseline: auto" not in told, "that is the default"
    assert "new baseline" not in told


def test_a_baseline_built_with_a_change_needs_no_other() -> None:
    before, city = Monitor("loans"), FeatureMonitor(sensitive=True, type="categorical")
    built = traffic.baseline("loans")
    after = Monitor("loans", features={"city": city})
    assert len(needing_a_baseline(before, after, built)) == 2
    hidden = msgspec.structs.replace(built.features["city"], sensitive=True)
    assert not needing_a_baseline(
        before, after, msgspec.structs.replace(built, features={**built.features, "city": hidden})
    )
    assert not needing_a_baseline(after, after, built), "it was said when it was marked"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model: loans\nwindow: 2h\n", ("2", "window", "1m, 5m, 15m, 1h")),
        ("model: loans\nbudgets: 1\n", ("2", "budgets", "budget")),
        ("model: loans\nfeatures:\n  city: {type: number}\n", ("3", "type", "numeric")),
        ("model: loans\nmonitor_version: 3\n", ("monitor_version", "leave it out")),
        ("owner: me\n", ("model",)),
        ("- model\n", ("object",)),
        ("", ("object",)),
        ("model: [\n", ("line 2",)),
        ("model: loans\ntimezone: Europe/Pariss\n", ("timezone", "Europe/Pariss")),
    ],
)
def test_a_wrong_monitor_is_refused_whole(
    on: On, shared_embedded_cluster: Cluster, tmp_path: Path, text: str, named: tuple[str, ...]
) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text(text)
    shown = on(shared_embedded_cluster)("monitor", "apply", str(path))
    assert shown.code == 2, shown
    assert "monitor.yaml" in shown.err
    for word in named:
        assert word in shown.err
    assert "Traceback" not in shown.err


def _verdicts(shown: list[dict[str, Any]]) -> dict[tuple[int, int], tuple[str, int]]:
    return {(row["scale"], row["window_start"]): (row["state"], row["rows"]) for row in shown}


def test_a_file_is_replayed_without_a_broker(run: Run, files: tuple[Path, Path]) -> None:
    reference, monitored = map(str, files)
    common = ("replay", monitored, "--reference", reference, "--model", "loans", "--ignore", "target")
    told = run(*common)
    assert told.code == 0, told
    assert "income" in told.out
    assert f"{ROWS:,} rows in" in told.out
    rows = [row for row in run(*common, "--json").json if row["scale"] == 1]
    assert sum(row["rows"] for row in rows) == ROWS
    drifting = {(row["window_start"] - START_MS) // MINUTE_MS for row in rows if row["state"] == "drift"}
    assert drifting == {15, 16, 17, 18, 19}
    only = [row for row in run(*common, "--json", "--only-drift").json if row["scale"] == 1]
    assert {(row["window_start"] - START_MS) // MINUTE_MS for row in only} == drifting


def test_live_topic_range_and_file_give_the_same_verdicts(
    on: On, embedded_cluster: Callable[..., Cluster], files: tuple[Path, Path]
) -> None:
    from streams.replay.files import Roles, complete, events_of, read_table

    cluster = embedded_cluster()
    driftgauge = on(cluster)
    reference, monitored = files
    columns = ("--model", "loans", "--ignore", "target")
    assert driftgauge("baseline", "create", str(reference), *columns).code == 0
    table = read_table(monitored)
    events = events_of(table, complete(table, Roles(ignored=("target",))), "loans", rows=400)
    cluster.produce([traffic.Message(0, record.value, list(record.headers)) for record in events])
    worker = cluster.start("detect", DRIFTGAUGE_LOG_LEVEL="INFO")

    def live() -> dict[tuple[int, int], tuple[str, int]]:
        return {(key[3], key[4]): (result.state, result.rows) for key, result in newest(cluster.results()).items()}

    topic_range = driftgauge("replay", *columns[:2], "--json")
    assert topic_range.code == 0, topic_range
    wanted = _verdicts(topic_range.json)
    assert any(state == "drift" for state, _ in wanted.values())
    assert wanted == _verdicts(driftgauge("replay", str(monitored), *columns, "--json").json)
    passed = {key for key in wanted if key[1] + key[0] * MINUTE_MS <= START_MS + 19 * MINUTE_MS}
    eventually(lambda: passed <= live().keys(), 60.0)
    assert {key: live()[key] for key in passed} == {key: wanted[key] for key in passed}
    n_results = len(cluster.results())
    driftgauge("replay", *columns[:2])
    assert len(cluster.results()) == n_results, "a replay leaves the live topics alone"
    assert cluster.stop(worker) == 0


def test_dead_letters_are_listed(on: On, embedded_cluster: Callable[..., Cluster]) -> None:
    cluster = embedded_cluster()
    driftgauge = on(cluster)
    cluster.publish_baselines(["alpha"])
    assert driftgauge("dead", "list", "--json").json == []
    assert "There are none" in driftgauge("dead", "list").out
    bad = [b"{not json", b'{"model":"x"}', b"[1, 2]"]
    cluster.produce([traffic.Message(1, value, []) for value in bad])
    worker = cluster.start("detect")
    eventually(lambda: len(cluster.records(topics.DEAD.name)) == 3, 60.0)
    rows = driftgauge("dead", "list", "--json").json
    assert {(row["topic"], row["partition"], row["offset"]) for row in rows} == {
        (topics.EVENTS.name, 1, n) for n in range(3)
    }
    assert all(row["reason"] and row["detail"] for row in rows)
    assert len(driftgauge("dead", "list", "--json", "--limit", "2").json) == 2
    reason = rows[0]["reason"]
    chosen = driftgauge("dead", "list", "--json", "--reason", reason).json
    assert {row["reason"] for row in chosen} == {reason}
    assert cluster.stop(worker) == 0


async def _stored(store: EmbeddedClickHouse, database: str) -> None:
    from streams.sinks.clickhouse import ClickHouse, Writer
    from streams.sinks.rows import rows_of_alerts

    async with ClickHouse(store.url, database=database) as client:
        await client.migrate()
        writer = Writer(client, topics.ALERTS.name, 0)
        one, other = alert(episode_id="loans/1", model="loans"), alert(episode_id="other/1", model="other")
        over = alert(episode_id="loans/1", model="loans", sequence=one.sequence + 1, state="resolved", previous="open")
        writer.add(rows_of_alerts([one, other, over]), 0, 2)
        await writer.flush()


def test_alerts_are_listed_in_their_newest_state(run: Run, store: EmbeddedClickHouse) -> None:
    asyncio.run(_stored(store, "alerts_list"))
    environment = {"DRIFTGAUGE_CLICKHOUSE_URL": store.url, "DRIFTGAUGE_CLICKHOUSE_DATABASE": "alerts_list"}
    rows = run("alerts", "list", "--json", **environment).json
    assert {row["episode"]: row["state"] for row in rows} == {"loans/1": "resolved", "other/1": "open"}
    assert [row["model"] for row in run("alerts", "list", "--json", "--model", "other", **environment).json] == [
        "other"
    ]
    assert [row["episode"] for row in run("alerts", "list", "--json", "--state", "open", **environment).json] == [
        "other/1"
    ]
    assert "other/1" in run("alerts", "list", **environment).out
    assert "There are none" in run("alerts", "list", "--model", "nobody", **environment).out
