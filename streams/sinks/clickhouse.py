"""Rows into ClickHouse: once under FINAL whatever fails, and in time.

An insert is repeated until the store has confirmed it or refused the rows. Its deduplication token is the place
the rows come from (topic, partition, first and last offset) and a digest of the rows: a repeat is dropped by the
store, while other rows that bear the same offsets, because an embedded broker started over, are not.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import pyarrow as pa
from clickhouse_connect import get_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import Error

from streams.sinks import tables
from streams.sinks.bodies import encode, once, parts
from streams.sinks.clickhouse_errors import judged
from streams.sinks.errors import SinkError, SinkMisconfigured, SinkUnavailable
from streams.sinks.migrations import migrations, statements
from streams.sinks.retries import TryAgain, until_taken
from streams.sinks.rows import Rows, merge

SINK = "clickhouse"
INSERT_SETTINGS = {"async_insert": "0", "insert_deduplicate": "1", "max_partitions_per_insert_block": "0"}

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ClickHouse:
    """The store, over HTTP.

    Parameters
    ----------
    url
        ``http://host:port`` or ``https://…``.
    database
        Made by `migrate` when it is not there.
    timeout_s
        For one attempt, in seconds.
    retry_wait_s
        Pauses between attempts are random up to a bound that doubles from the first to the second, in seconds.
    on_retry
        Called with the sink's name each time an attempt failed and will be repeated.

    Raises
    ------
    SinkMisconfigured
        When the address or the database's name cannot be one.
    """

    def __init__(
        self,
        url: str,
        *,
        database: str = "driftgauge",
        user: str = "default",
        password: str = "",
        timeout_s: float = 60.0,
        retry_wait_s: tuple[float, float] = (0.1, 30.0),
        on_retry: Callable[[str], None] | None = None,
    ) -> None:
        if not _NAME.fullmatch(database):
            raise SinkMisconfigured("DRIFTGAUGE_CLICKHOUSE_DATABASE: letters, digits and _, not starting with a digit")
        self.database = database
        self._address = {**_address(url), "username": user, "password": password}
        self._timeout_s = timeout_s
        self._retry_wait_s = retry_wait_s
        self._on_retry = on_retry
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()

    async def migrate(self) -> list[str]:
        """Bring the database to this version; several may do so at once.

        Returns
        -------
        The names of the migrations applied now.

        Raises
        ------
        SinkMisconfigured
            When an applied migration differs from ours, or rights are missing.
        """
        await self._again(lambda client: client.command(f"CREATE DATABASE IF NOT EXISTS {self.database}"), "migrate")
        await self._run(
            "CREATE TABLE IF NOT EXISTS migrations (number UInt32, name String, digest String, "
            "applied DateTime DEFAULT now()) ENGINE = ReplacingMergeTree ORDER BY number"
        )
        stored = await self.query("SELECT name, digest FROM migrations FINAL", wait=True)
        known = {str(name): str(digest) for name, digest in stored}
        applied = []
        for name, text in migrations():
            digest = hashlib.sha256(text.encode()).hexdigest()
            if known.get(name, digest) != digest:
                raise SinkMisconfigured(f"migration {name} of database {self.database} is not the one of this version")
            if name in known:
                continue
            for statement in statements(text):
                await self._run(statement)
            values = {"number": int(name[:3]), "name": name, "digest": digest}
            await self._run(
                "INSERT INTO migrations (number, name, digest) SELECT {number:UInt32}, {name:String}, {digest:String}",
                values,
            )
            applied.append(name)
        return applied

    async def insert(self, table: str, rows: pa.RecordBatch | pa.Table, token: str) -> int:
        """Insert rows and return how many, once the store has confirmed them; repeats for ever what is temporary.

        Parameters
        ----------
        table
            One of `tables.TABLES`.
        token
            Where the rows come from: ``topic/partition/first-last``.

        Raises
        ------
        SinkRejected
            When the rows are at fault: they belong into the dead letters.
        SinkMisconfigured
            When the address, the tables or the rights are at fault: the rows are fine.
        """
        schema = tables.TABLES[table]
        whole = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        for part in parts(whole):
            body, compression, digest = await asyncio.to_thread(encode, part, schema)
            settings = {**INSERT_SETTINGS, "insert_deduplication_token": f"{token}/{digest}"}

            async def attempt(
                client: AsyncClient,
                body: bytes = body,
                compression: str | None = compression,
                settings: dict[str, str] = settings,
            ) -> Any:
                # An iterator as the body keeps the client from repeating the request behind our back.
                return await client.raw_insert(
                    f"{self.database}.{table}", schema.names, once(body), settings, "ArrowStream", compression
                )

            await self._again(attempt, f"insert into {table}")
        return int(whole.num_rows)

    async def query(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, wait: bool = False
    ) -> Sequence[Sequence[Any]]:
        """Return the rows of a SELECT; `parameters` are bound by the server (``{name:Type}``).

        Raises
        ------
        SinkUnavailable
            When the store does not answer; with `wait` it is asked until it does.
        SinkMisconfigured
            When the tables, the user or the statement are at fault.
        """

        async def attempt(client: AsyncClient) -> Any:
            return (await client.query(sql, dict(parameters or {}), settings={"database": self.database})).result_rows

        rows: Sequence[Sequence[Any]] = await (self._again if wait else self._now)(attempt, "query")
        return rows

    async def ping(self) -> bool:
        """Return whether the store answers."""
        try:
            return bool(await self.query("SELECT 1"))
        except SinkError:
            return False

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        settings = {"database": self.database, "async_insert": "0"}
        await self._again(
            lambda client: client.command(statement, dict(parameters or {}), settings=settings), "migrate"
        )

    async def _connected(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                self._client = await get_async_client(
                    **self._address,
                    connect_timeout=min(10.0, self._timeout_s),
                    send_receive_timeout=self._timeout_s,
                    query_retries=0,
                    autogenerate_session_id=False,
                    show_clickhouse_errors="scrub",
                )
            return self._client

    async def _attempt(self, work: Callable[[AsyncClient], Any], what: str) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await work(await self._connected())
        except TimeoutError:
            raise TryAgain(f"no answer within {self._timeout_s:g} s") from None
        except Error as error:
            raise judged(error, what) from error

    async def _now(self, work: Callable[[AsyncClient], Any], what: str) -> Any:
        try:
            return await self._attempt(work, what)
        except TryAgain as temporary:
            raise SinkUnavailable(f"ClickHouse does not answer: {temporary}") from temporary

    async def _again(self, work: Callable[[AsyncClient], Any], what: str) -> Any:
        def tell(reason: str, wait_s: float) -> None:
            _log.warning("ClickHouse, %s: %s; again in %.1f s", what, reason, wait_s)
            if self._on_retry is not None:
                self._on_retry(SINK)

        shortest, longest = self._retry_wait_s
        return await until_taken(
            partial(self._attempt, work, what),
            destination="ClickHouse",
            first_wait_s=shortest,
            max_wait_s=longest,
            on_retry=tell,
        )


class Writer:
    """Collects the rows of one topic-partition and inserts them in few large pieces.

    Parameters
    ----------
    store
        Where to.
    topic, partition
        Where the rows come from.
    """

    def __init__(self, store: ClickHouse, topic: str, partition: int) -> None:
        self._store = store
        self._origin = f"{topic}/{partition}"
        self._parts: list[Rows] = []
        self._offsets: list[int] = []
        self.n_rows = 0

    def add(self, rows: Rows, first_offset: int, last_offset: int | None = None) -> None:
        """Collect rows that come from these offsets; nothing is written yet."""
        self._parts.append(rows)
        self._offsets += (first_offset, first_offset if last_offset is None else last_offset)
        self.n_rows += sum(batch.num_rows for batch in rows.values())

    async def flush(self) -> int:
        """Write what was collected and return the number of rows; only then may offsets be committed.

        When it raises, what was collected is still there; writing it again is harmless.
        """
        if not self._parts:
            return 0
        n_parts, n_offsets = len(self._parts), len(self._offsets)
        token = f"{self._origin}/{min(self._offsets)}-{max(self._offsets)}"
        n_written = 0
        for table, rows in merge(self._parts[:n_parts]).items():
            n_written += await self.write(table, rows, token)
        del self._parts[:n_parts], self._offsets[:n_offsets]
        self.n_rows -= n_written
        return n_written

    async def write(self, table: str, rows: pa.RecordBatch | pa.Table, token: str) -> int:
        """Insert rows at once; see `ClickHouse.insert`."""
        return await self._store.insert(table, rows, token)


def _address(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise SinkMisconfigured("DRIFTGAUGE_CLICKHOUSE_URL: expected http://host:8123 or https://host:8443")
    if parts.username or parts.password:
        raise SinkMisconfigured("DRIFTGAUGE_CLICKHOUSE_URL: give user and password in settings of their own")
    port = port or (8443 if parts.scheme == "https" else 8123)
    return {"host": host, "port": port, "interface": parts.scheme, "proxy_path": parts.path.strip("/")}
