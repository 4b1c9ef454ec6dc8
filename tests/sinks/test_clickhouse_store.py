"""Tables, migrations and refusals on the real engine."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from schemas.columns import Column
from schemas.records import PlainRecord
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.embedded.http import MAX_BODY_BYTES
from streams.sinks import clickhouse as module
from streams.sinks import tables
from streams.sinks.clickhouse import ClickHouse, Writer
from streams.sinks.errors import SinkMisconfigured, SinkRejected, SinkUnavailable
from streams.sinks.migrations import migrations
from streams.sinks.rows import rows_of_batch, rows_of_control, rows_of_result, rows_of_results
from tests.sinks.results import HOUR_MS, a_batch, a_feature, a_result

_ARROW = {
    "string": r"String|LowCardinality\(String\)|Nullable\(String\)",
    "binary": "String",
    "uint16": "UInt16",
    "uint32": "UInt32",
    "uint64": "UInt64",
    "double": r"Float64|Nullable\(Float64\)",
    "bool": "Bool",
    "timestamp[ms, tz=UTC]": r"DateTime64\(3, 'UTC'\)",
    str(tables.DEPLOYMENT): r"Tuple\(\s*version String,\s*time DateTime64\(3, 'UTC'\)\)",
    str(tables.BIN): r"Tuple\(\s*bin String,\s*reference Float64,\s*current Float64\)",
}


def _pattern(kind: pa.DataType) -> str:
    return rf"Array\((?:{_pattern(kind.value_type)})\)" if pa.types.is_list(kind) else _ARROW[str(kind)]


@pytest.mark.parametrize("table", tables.TABLES)
async def test_columns_in_code_and_in_the_migrations_are_the_same(clickhouse: ClickHouse, table: str) -> None:
    stored = {row[0]: row[1] for row in await clickhouse.query(f"DESCRIBE TABLE {table}")}
    assert stored.pop("ingested") == "DateTime"
    assert list(stored) == tables.TABLES[table].names
    for field in tables.TABLES[table]:
        assert re.fullmatch(_pattern(field.type), stored[field.name]), (field.name, str(field.type), stored[field.name])


@pytest.mark.parametrize("table", tables.TABLES)
async def test_every_table_replaces_and_remembers_tokens(clickhouse: ClickHouse, table: str) -> None:
    [(statement,)] = await clickhouse.query(
        "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
        {"table": table},
    )
    assert "ReplacingMergeTree" in statement
    assert "non_replicated_deduplication_window = 1000" in statement
    assert ("TTL ingested + toIntervalDay" in statement) == (table != "control")
    assert ("PARTITION BY toYYYYMM" in statement) == (table != "control")


async def test_migrating_again_changes_nothing(clickhouse: ClickHouse) -> None:
    assert await clickhouse.migrate() == []


async def test_several_may_migrate_at_once(store: EmbeddedClickHouse, database: str) -> None:
    roles = [ClickHouse(store.url, database=database) for _ in range(3)]
    await asyncio.gather(*(role.migrate() for role in roles))
    applied = await roles[0].query("SELECT name FROM migrations FINAL")
    assert [name for (name,) in applied] == [name for name, _ in migrations()]
    for role in roles:
        await role.close()


async def test_a_changed_migration_is_refused(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [(name, text + "-- changed") for name, text in migrations()]
    monkeypatch.setattr(module, "migrations", lambda: changed)
    with pytest.raises(SinkMisconfigured, match=r"001_tables\.sql"):
        await clickhouse.migrate()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [int(name[:3]) for name, _ in migrations()] == list(range(1, len(migrations()) + 1))


async def test_a_higher_revision_replaces_a_lower_one_in_any_order(clickhouse: ClickHouse) -> None:
    newer, older = (a_result(revision=revision, features=[a_feature(effect=revision / 10)]) for revision in (4, 2))
    for n, result in enumerate((newer, older)):
        await clickhouse.insert("results", rows_of_result(result)["results"], f"t/0/{n}-{n}")
    assert await clickhouse.query("SELECT revision, tests.effect[1] FROM results FINAL") == [(4, 0.4)]


async def test_rows_of_another_year_are_kept_and_in_their_months(clickhouse: ClickHouse) -> None:
    ten_years = 10 * 365 * 24
    results = [a_result(hour=-hour) for hour in range(0, ten_years, 24 * 14)]
    await clickhouse.insert("results", rows_of_results(results)["results"], "t/0/0-9")
    assert await clickhouse.query("SELECT count(), uniq(toYYYYMM(window_start)) > 100 FROM results FINAL") == [
        (len(results), True)
    ]


async def test_rows_without_ids_do_not_collapse_and_repeats_do(clickhouse: ClickHouse) -> None:
    batch = a_batch(Column(np.arange(3000.0)), rows_per_record=1000, step_ms=0)
    rows = rows_of_batch(batch, "drift.events.v1", 0)["predictions"]
    await clickhouse.insert("predictions", rows, "drift.events.v1/0/0-2")
    await clickhouse.insert("predictions", rows.slice(0, 2000), "drift.events.v1/0/0-1")
    assert await clickhouse.query("SELECT count(), uniqExact(prediction) FROM predictions FINAL") == [(3000, 3000)]


async def test_offsets_of_a_broker_that_started_over_do_not_lose_rows(clickhouse: ClickHouse) -> None:
    for hour in range(2):
        rows = rows_of_result(a_result(hour=hour))["results"]
        await clickhouse.insert("results", rows, "drift.results.v1/0/0-0")
    assert await clickhouse.query("SELECT count() FROM results FINAL") == [(2,)]


async def test_a_writer_writes_what_it_collected_once(clickhouse: ClickHouse) -> None:
    writer = Writer(clickhouse, "drift.results.v1", 3)
    for hour in range(5):
        writer.add(rows_of_result(a_result(hour=hour)), first_offset=hour)
    assert writer.n_rows == 15
    assert (await writer.flush(), writer.n_rows, await writer.flush()) == (15, 0, 0)
    assert await clickhouse.query("SELECT count() FROM results") == [(5,)]
    assert await clickhouse.query("SELECT count() FROM windows") == [(5,)]


async def test_rows_larger_than_a_request_may_be_arrive_in_pieces(clickhouse: ClickHouse) -> None:
    value = bytes(900_000)
    records = [PlainRecord("drift.baselines.v1", 0, n, n, value, f"m/{n}".encode()) for n in range(100)]
    assert len(value) * len(records) > MAX_BODY_BYTES
    await clickhouse.insert("control", rows_of_control(records)["control"], "drift.baselines.v1/0/0-99")
    assert await clickhouse.query("SELECT count(), min(length(value)) FROM control FINAL") == [(100, 900_000)]


async def test_values_the_table_cannot_hold_are_rejected_and_not_repeated(clickhouse: ClickHouse) -> None:
    retries: list[str] = []
    clickhouse._on_retry = retries.append
    await clickhouse._run("ALTER TABLE predictions MODIFY COLUMN label Enum8('' = 0, 'yes' = 1)")
    column = Column(codes=np.zeros(1, np.int32), levels=("perhaps",))
    rows = rows_of_batch(a_batch(column), "t", 0)["predictions"]
    with pytest.raises(SinkRejected, match="insert into predictions"):
        await clickhouse.insert("predictions", rows, "t/0/0-0")
    assert retries == []


async def test_missing_tables_are_the_configurations_fault_not_the_rows(
    store: EmbeddedClickHouse, database: str
) -> None:
    async with ClickHouse(store.url, database=database) as unmigrated:
        with pytest.raises(SinkMisconfigured, match="migrations"):
            await unmigrated.insert("results", rows_of_result(a_result())["results"], "t/0/0-0")


async def test_reading_from_a_store_that_is_down_says_so(free_port: int) -> None:
    async with ClickHouse(f"http://127.0.0.1:{free_port}") as down:
        with pytest.raises(SinkUnavailable, match="does not answer"):
            await down.query("SELECT 1")
        assert await down.ping() is False


@pytest.mark.parametrize(
    ("url", "database", "setting"),
    [
        ("127.0.0.1:8123", "driftgauge", "DRIFTGAUGE_CLICKHOUSE_URL"),
        ("http://[broken", "driftgauge", "DRIFTGAUGE_CLICKHOUSE_URL"),
        ("http://127.0.0.1:notaport", "driftgauge", "DRIFTGAUGE_CLICKHOUSE_URL"),
        ("clickhouse://127.0.0.1:9000", "driftgauge", "DRIFTGAUGE_CLICKHOUSE_URL"),
        ("http://user:secret@127.0.0.1:8123", "driftgauge", "DRIFTGAUGE_CLICKHOUSE_URL"),
        ("http://127.0.0.1:8123", "a; DROP DATABASE b", "DRIFTGAUGE_CLICKHOUSE_DATABASE"),
    ],
)
def test_a_wrong_address_names_the_setting_and_no_secret(url: str, database: str, setting: str) -> None:
    with pytest.raises(SinkMisconfigured, match=setting) as refused:
        ClickHouse(url, database=database)
    assert "secret" not in str(refused.value)


async def test_a_wrong_password_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTGAUGE_CLICKHOUSE_PASSWORD", "right")
    with EmbeddedClickHouse(tmp_path) as guarded:
        async with ClickHouse(guarded.url, password="right") as welcome:
            assert await welcome.migrate()
        async with ClickHouse(guarded.url, password="wrong") as stranger:
            with pytest.raises(SinkMisconfigured, match="DRIFTGAUGE_CLICKHOUSE_PASSWORD"):
                await stranger.migrate()


async def test_a_profile_takes_less_than_300_bytes_a_feature_and_window(clickhouse: ClickHouse) -> None:
    random = np.random.default_rng(7)
    results = [
        a_result(hour=hour, features=[a_feature(str(n), counts=random.poisson(100, 40).tolist()) for n in range(20)])
        for hour in range(200)
    ]
    await clickhouse.insert("profiles", rows_of_results(results)["profiles"], "t/0/0-1")
    await clickhouse._run("OPTIMIZE TABLE profiles FINAL")
    [(n_rows, n_bytes)] = await clickhouse.query(
        "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts "
        "WHERE active AND database = currentDatabase() AND table = 'profiles'"
    )
    assert n_rows == 4000
    assert n_bytes / n_rows < 300
    assert results[1].window_start - results[0].window_start == HOUR_MS
