"""The embedded store answers ClickHouse's ordinary clients, keeps what it confirmed, and has one owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from streams.embedded.clickhouse import EmbeddedClickHouse, EmbeddedStoreError, main
from streams.embedded.engine import Engine
from tests.real import require_real

HOSTILE = ("a'b", 'a"b`c', "a\\b\n\tc\0d", "{x:String}", "'; SELECT 2; --", "漢字 🦊", "long " * 5000)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """One store for this file."""
    require_real("chdb")
    with EmbeddedClickHouse(tmp_path_factory.mktemp("store")) as running:
        yield running


def _client(store: EmbeddedClickHouse, **options: Any) -> Any:
    return clickhouse_connect.get_client(dsn=store.url, **options)


def _table(client: Any, name: str) -> str:
    client.command(
        f"CREATE OR REPLACE TABLE {name} (n Int64, text String, time DateTime64(3, 'UTC')) ENGINE = ReplacingMergeTree "
        "ORDER BY n SETTINGS non_replicated_deduplication_window = 100"
    )
    return name


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_the_sync_client_inserts_and_reads(store: EmbeddedClickHouse, compress: str | bool) -> None:
    client = _client(store, compress=compress)
    table = _table(client, "sync_rows")
    summary = client.insert(table, [[n, text, n] for n, text in enumerate(HOSTILE)], column_names=["n", "text", "time"])
    assert summary.written_rows == len(HOSTILE)
    read = client.query(f"SELECT text, toUnixTimestamp64Milli(time) FROM {table} FINAL ORDER BY n").result_rows
    assert read == [(text, n) for n, text in enumerate(HOSTILE)]
    client.close()


async def test_the_async_client_inserts_and_reads(store: EmbeddedClickHouse) -> None:
    client = await clickhouse_connect.get_async_client(dsn=store.url)
    _table(_client(store), "async_rows")
    rows = [[n, "x", n] for n in range(250_000)]
    await client.insert("async_rows", rows, column_names=["n", "text", "time"])
    result = await client.query("SELECT count(), sum(n) FROM async_rows FINAL")
    assert result.result_rows == [(250_000, 250_000 * 249_999 // 2)]
    assert (await client.query("SELECT n FROM async_rows LIMIT 0")).column_names == ("n",)
    await client.close()


@pytest.mark.parametrize("value", HOSTILE)
def test_bound_parameters_are_only_values(store: EmbeddedClickHouse, value: str) -> None:
    client = _client(store)
    read = client.query("SELECT {x:String}, {many:Array(String)}", parameters={"x": value, "many": [value, value]})
    assert read.result_rows == [(value, [value, value])]


def test_settings_hold_for_one_request(store: EmbeddedClickHouse) -> None:
    client = _client(store, autogenerate_session_id=False)
    ask = "SELECT getSetting('max_block_size')"
    before = client.command(ask)
    assert client.command(ask, settings={"max_block_size": 77}) == 77
    assert client.command(ask) == before


def test_a_repeated_token_is_dropped_and_another_is_not(store: EmbeddedClickHouse) -> None:
    client = _client(store)
    table = _table(client, "tokens")
    for token in ("a", "a", "b"):
        client.insert(
            table, [[1, "x", 1]], column_names=["n", "text", "time"], settings={"insert_deduplication_token": token}
        )
    assert client.command(f"SELECT count() FROM {table}") == 2


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT FROM WHERE", 62),
        ("SELECT nope", 47),
        ("SELECT * FROM nowhere.nothing", 81),
        ("SELECT * FROM nothing", 60),
    ],
)
def test_errors_carry_clickhouses_code(store: EmbeddedClickHouse, statement: str, code: int) -> None:
    with pytest.raises(DatabaseError) as refused:
        _client(store).query(statement)
    assert refused.value.code == code


def test_rows_that_do_not_fit_their_format_are_refused(store: EmbeddedClickHouse) -> None:
    client = _client(store)
    table = _table(client, "unfit")
    with pytest.raises(DatabaseError) as refused:
        client.raw_insert(table, ["n", "text"], b"x\ty\n", fmt="TabSeparated")
    assert refused.value.code in (6, 27, 72)
    assert client.command(f"SELECT count() FROM {table}") == 0


def test_it_listens_on_one_address_only(store: EmbeddedClickHouse) -> None:
    port = int(store.url.rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port), 5).close()
    with pytest.raises(OSError, match=r"refused|assign|unreachable|timed out"):
        socket.create_connection(("127.0.0.2", port), 5)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_confirmed_is_there_after_a_restart(tmp_path: Path, end: signal.Signals) -> None:
    require_real("chdb")
    for n in range(3):
        with EmbeddedClickHouse(tmp_path) as store:
            client = _client(store)
            client.command("CREATE TABLE IF NOT EXISTS kept (n Int64) ENGINE = ReplacingMergeTree ORDER BY n")
            client.insert("kept", [[n]], column_names=["n"])
            assert client.command("SELECT groupArray(n) FROM (SELECT n FROM kept FINAL ORDER BY n)") == str(
                list(range(n + 1))
            ).replace(" ", "")
            client.close()
            os.kill(store.pid, end)
            assert store._process.wait(20) == (0 if end == signal.SIGTERM else -signal.SIGKILL)


def test_times_are_utc_wherever_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_real("chdb")
    monkeypatch.setenv("TZ", "America/New_York")
    with EmbeddedClickHouse(tmp_path) as store:
        assert _client(store).command("SELECT toString(toDateTime(0))") == "1970-01-01 00:00:00"


def test_a_directory_has_one_owner_and_the_refusal_names_it(tmp_path: Path) -> None:
    require_real("chdb")
    with EmbeddedClickHouse(tmp_path) as owner:
        with pytest.raises(EmbeddedStoreError, match=rf"served by another process \(pid {owner.pid}\).*--path"):
            EmbeddedClickHouse(tmp_path)
        assert _client(owner).command("SELECT 1") == 1


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    require_real("chdb")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedStoreError, match=rf"127\.0\.0\.1.*{port}.*in use"):
            EmbeddedClickHouse(tmp_path, port=port)


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    require_real("chdb")
    with EmbeddedClickHouse(tmp_path) as store:
        assert store._process.stdin is not None
        store._process.stdin.close()
        assert store._process.wait(20) == 0


def test_by_hand_it_prints_one_line_and_ends_at_sigterm(tmp_path: Path) -> None:
    require_real("chdb")
    command = [sys.executable, "-m", "streams.embedded.clickhouse", "--path", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith('{"url": "http://127.0.0.1:')
        process.terminate()
        assert process.stdout.read() == ""
        assert process.wait(20) == 0


def test_without_chdb_the_error_names_both_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "chdb", None)
    assert main(["--path", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "pip install 'driftgauge[embedded]'" in said
    assert "DRIFTGAUGE_CLICKHOUSE_URL" in said
    with pytest.raises(ModuleNotFoundError, match="DRIFTGAUGE_CLICKHOUSE_URL"):
        Engine(tmp_path)
