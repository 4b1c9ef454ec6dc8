"""The store's HTTP face, without an engine: bodies, limits and who is let in."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import cramjam
import pytest
from aiohttp import ClientSession, FormData

from streams.embedded.engine import Answer, EngineError, split_insert
from streams.embedded.http import Front, decompress

LIMIT = 100_000
needs_lz4 = pytest.mark.skipif(find_spec("lz4") is None, reason="lz4 comes with clickhouse-connect before Python 3.14")


class Recording:
    """An engine that remembers what it was asked."""

    def __init__(self) -> None:
        self.statement = b""
        self.arguments: dict[str, str] = {}
        self.writes = False

    def execute(self, statement: bytes, arguments: Mapping[str, str], *, writes: bool = True) -> Answer:
        self.statement, self.arguments, self.writes = statement, dict(arguments), writes
        if statement == b"fail":
            raise EngineError("Code: 60. DB::Exception: gone", 60)
        return Answer(b"1\n", "TabSeparated", 3, 4)


@asynccontextmanager
async def _front(**options: Any) -> AsyncIterator[tuple[Recording, ClientSession]]:
    engine = Recording()
    async with Front(engine, max_body_bytes=LIMIT, **options).listening(0) as url, ClientSession(url) as session:
        yield engine, session


async def test_the_query_string_comes_before_the_body_and_becomes_arguments() -> None:
    async with _front() as (engine, session):
        query = {"query": "INSERT INTO t FORMAT Native", "database": "d", "param_x": "y", "async_insert": "0"}
        async with session.post("/", params=query, data=b"\x01\x00\n") as answer:
            assert answer.status == 200
        assert engine.statement == b"INSERT INTO t FORMAT Native\n\x01\x00\n"
        assert engine.arguments == {"database": "d", "param_x": "y", "async_insert": "0"}


async def test_answers_carry_clickhouses_headers() -> None:
    async with _front() as (_, session), session.post("/", data=b"SELECT 1", params={"query_id": "q7"}) as answer:
        assert await answer.read() == b"1\n"
        assert answer.headers["X-ClickHouse-Format"] == "TabSeparated"
        assert answer.headers["X-ClickHouse-Query-Id"] == "q7"
        assert answer.headers["X-ClickHouse-Summary"] == '{"read_rows": "3", "written_rows": "4"}'


async def test_an_error_carries_its_code_and_status() -> None:
    async with _front() as (_, session), session.post("/", data=b"fail") as answer:
        assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (404, "60")
        assert "gone" in await answer.text()


async def test_ping_and_an_empty_request_answer_ok() -> None:
    async with _front() as (_, session):
        for path in ("/ping", "/"):
            async with session.get(path) as answer:
                assert await answer.text() == "Ok.\n"


async def test_get_only_reads() -> None:
    async with _front() as (engine, session):
        async with session.get("/", params={"query": "SELECT 1"}):
            assert not engine.writes
        async with session.post("/", data=b"SELECT 1"):
            assert engine.writes


async def test_a_form_carries_the_query_and_its_parameters() -> None:
    async with _front() as (engine, session):
        form = FormData(default_to_multipart=True)
        form.add_field("query", "SELECT {x:String}", content_type="text/plain")
        form.add_field("param_x", "é" * 10, content_type="text/plain")
        async with session.post("/", data=form):
            assert engine.statement.strip() == b"SELECT {x:String}"
            assert engine.arguments == {"param_x": "é" * 10}


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        pytest.param("lz4", lambda body: bytes(cramjam.lz4.compress(body)), marks=needs_lz4),
        ("zstd", lambda body: bytes(cramjam.zstd.compress(body))),
    ],
)
class TestCompressed:
    async def test_bodies_are_decompressed(self, encoding: str, compress: Any) -> None:
        async with _front() as (engine, session):
            body = compress(b"SELECT 1 -- ") + (b"" if encoding == "deflate" else compress(b"and a second frame"))
            async with session.post("/", data=body, headers={"Content-Encoding": encoding}) as answer:
                assert answer.status == 200
            assert engine.statement.startswith(b"SELECT 1 -- ")
            assert encoding == "deflate" or engine.statement.endswith(b"and a second frame")

    async def test_a_small_body_that_grows_beyond_the_limit_is_refused(self, encoding: str, compress: Any) -> None:
        async with _front() as (engine, session):
            bomb = compress(bytes(100 * LIMIT))[: LIMIT - 1]
            async with session.post("/", data=bomb, headers={"Content-Encoding": encoding}) as answer:
                assert answer.status == 413
                assert str(LIMIT) in await answer.text()
            assert engine.statement == b""

    def test_exactly_the_limit_is_accepted(self, encoding: str, compress: Any) -> None:
        assert decompress(compress(bytes(LIMIT)), encoding, LIMIT) == bytes(LIMIT)

    @pytest.mark.parametrize("damage", ["cut", "garbage"])
    async def test_a_damaged_body_is_refused(self, encoding: str, compress: Any, damage: str) -> None:
        async with _front() as (engine, session):
            body = compress(b"SELECT 1" * 50)[:-6] if damage == "cut" else b"\x00not compressed at all"
            async with session.post("/", data=body, headers={"Content-Encoding": encoding}) as answer:
                assert answer.status >= 400
                assert answer.headers["X-ClickHouse-Exception-Code"] == "271"
            assert engine.statement == b""


async def test_an_unknown_encoding_is_refused() -> None:
    async with _front() as (_, session), session.post("/", data=b"x", headers={"Content-Encoding": "br"}) as answer:
        assert answer.status == 501


async def test_a_body_over_the_limit_is_refused() -> None:
    async with _front() as (engine, session):
        async with session.post("/", data=b" " * (LIMIT + 1)) as answer:
            assert answer.status == 413
        assert engine.statement == b""


@pytest.mark.parametrize("headers", [{"Origin": "https://example.com"}, {"Host": "rebound.example.com"}])
async def test_requests_of_web_pages_are_refused(headers: dict[str, str]) -> None:
    async with _front() as (engine, session):
        async with session.post("/", data=b"SELECT 1", headers=headers) as answer:
            assert answer.status == 403
        assert engine.statement == b""


async def test_with_a_password_only_those_who_have_it_are_let_in() -> None:
    async with _front(password="pässword") as (engine, session):
        for refused in ({}, {"X-ClickHouse-Key": "other"}, {"Authorization": "Basic !"}):
            async with session.post("/", data=b"SELECT 1", headers=refused) as answer:
                assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
        assert engine.statement == b""
        credentials = base64.b64encode("default:pässword".encode()).decode()
        async with session.post("/", data=b"SELECT 1", headers={"Authorization": f"Basic {credentials}"}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("statement", "parts"),
    [
        (b"INSERT INTO t FORMAT Native\n\x00FORMAT", ("INSERT INTO t ", "Native", b"\x00FORMAT")),
        (
            b' insert into t (`FORMAT x`, "a\\"b") format CSV 1,2',
            ('insert into t (`FORMAT x`, "a\\"b") ', "CSV", b"1,2"),
        ),
        (
            b"INSERT INTO t SETTINGS x = 'FORMAT y' FORMAT TSV\r\n1",
            ("INSERT INTO t SETTINGS x = 'FORMAT y' ", "TSV", b"1"),
        ),
        (b"INSERT INTO t /* FORMAT a */ FORMAT TSV\n", ("INSERT INTO t /* FORMAT a */ ", "TSV", b"")),
        (b"INSERT INTO t VALUES ('FORMAT CSV')", None),
        (b"INSERT INTO t SELECT 1 FORMAT CSV", None),
        (b"SELECT 'INSERT INTO t FORMAT CSV'", None),
        (b"INSERT INTO t", None),
    ],
)
def test_an_insert_is_split_from_its_data(statement: bytes, parts: tuple[str, str, bytes] | None) -> None:
    split = split_insert(statement)
    assert (None if split is None else (split[0].lstrip(), *split[1:])) == parts
