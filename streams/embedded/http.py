"""The HTTP face of the embedded store: enough of ClickHouse's interface for its ordinary clients.

Loopback only. Requests a browser sends for another site (an `Origin`, a foreign `Host`) are refused, because
ClickHouse's interface takes plain POST bodies that any web page could send.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, Protocol

from aiohttp import web

from streams.embedded.engine import Answer, EngineError

MAX_BODY_BYTES = 64 << 20
N_THREADS = 4
_TOO_LARGE = 307
_AUTHENTICATION_FAILED = 516
_NOT_IMPLEMENTED = 48


class Executes(Protocol):
    """What stands behind the face; `engine.Engine` is one."""

    def execute(self, statement: bytes, arguments: Mapping[str, str], *, writes: bool = True) -> Answer: ...


class Front:
    """Answers ClickHouse's HTTP requests from an engine.

    Parameters
    ----------
    engine
        Runs the statements, in one of four threads each.
    password
        When given, requests must carry it (any user name).
    max_body_bytes
        Limit of a request's body, compressed and not.
    """

    def __init__(self, engine: Executes, *, password: str = "", max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._engine = engine
        self._password = password
        self._max_body_bytes = max_body_bytes
        self._threads = ThreadPoolExecutor(N_THREADS, "statement")

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[str]:
        """Listen on 127.0.0.1 and yield the address; on leaving, statements that run are finished first."""
        app = web.Application(client_max_size=self._max_body_bytes)
        app.router.add_get("/ping", self._ping)
        app.router.add_route("*", "/", self._statement)
        runner = web.AppRunner(app, auto_decompress=False, access_log=None, shutdown_timeout=15.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
            self._threads.shutdown()

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _statement(self, request: web.Request) -> web.Response:
        try:
            self._admit(request)
            arguments = dict(request.query)
            statement = await self._read(request, arguments)
            if not statement.strip():
                return web.Response(text="Ok.\n")
            loop = asyncio.get_running_loop()
            writes = request.method == "POST"
            answer = await loop.run_in_executor(
                self._threads, lambda: self._engine.execute(statement, arguments, writes=writes)
            )
        except EngineError as refused:
            headers = {"X-ClickHouse-Exception-Code": str(refused.code)} if refused.code else {}
            status = {_TOO_LARGE: 413, _AUTHENTICATION_FAILED: 403, _NOT_IMPLEMENTED: 501}.get(
                refused.code, refused.status
            )
            return web.Response(status=status, text=f"{refused}\n", headers=headers)
        summary = {"read_rows": str(answer.n_read), "written_rows": str(answer.n_written)}
        headers = {
            "X-ClickHouse-Summary": json.dumps(summary),
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Query-Id": arguments.get("query_id", ""),
            "X-ClickHouse-Server-Display-Name": "driftgauge",
        }
        if answer.format:
            headers["X-ClickHouse-Format"] = answer.format
        return web.Response(body=answer.body, headers=headers)

    def _admit(self, request: web.Request) -> None:
        host = request.host.rpartition(":")[0] if ":" in request.host else request.host
        if "Origin" in request.headers or host not in ("127.0.0.1", "localhost"):
            raise _refusal(_AUTHENTICATION_FAILED, "requests of web pages are refused", "AUTHENTICATION_FAILED")
        if self._password and not hmac.compare_digest(_password(request).encode(), self._password.encode()):
            raise _refusal(_AUTHENTICATION_FAILED, "the password is not the store's", "AUTHENTICATION_FAILED")

    async def _read(self, request: web.Request, arguments: dict[str, str]) -> bytes:
        """Return the whole statement; a form's `query` and `param_…` fields count as arguments."""
        try:
            if request.content_type == "multipart/form-data":
                for name, value in (await request.post()).items():
                    if not isinstance(value, str):
                        raise _refusal(_NOT_IMPLEMENTED, "external data is not supported", "NOT_IMPLEMENTED")
                    arguments[name] = value
                body = b""
            else:
                body = decompress(
                    await request.read(), request.headers.get("Content-Encoding", ""), self._max_body_bytes
                )
        except (web.HTTPRequestEntityTooLarge, _TooLargeError):
            message = f"the body is larger than {self._max_body_bytes} bytes (--max-body-bytes)"
            raise _refusal(_TOO_LARGE, message, "TOO_MANY_BYTES") from None
        query = arguments.pop("query", "")
        return query.encode() + b"\n" + body if query else body


class _TooLargeError(Exception):
    """A body grows beyond the limit when it is decompressed."""


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the decompressed body, never longer than `max_bytes`.

    Raises
    ------
    EngineError
        For an encoding other than gzip, deflate, lz4 and zstd, or a broken body.
    """
    if encoding in ("", "identity"):
        return body
    decompressor = _decompressor(encoding)
    try:
        plain: bytes = decompressor.decompress(body, max_bytes + 1)
    except (RuntimeError, zlib.error, ValueError, EOFError, _zstd_error()) as broken:
        raise _refusal(271, f"the {encoding} body is broken: {broken}", "CANNOT_DECOMPRESS") from None
    if len(plain) > max_bytes:
        raise _TooLargeError
    if not decompressor.eof:
        raise _refusal(271, f"the {encoding} body is cut short", "CANNOT_DECOMPRESS")
    if rest := decompressor.unused_data:  # compressed block by block: one frame after the other
        return plain + decompress(rest, encoding, max_bytes - len(plain))
    return plain


def _decompressor(encoding: str) -> Any:
    if encoding in ("gzip", "deflate"):
        return zlib.decompressobj(31 if encoding == "gzip" else 15)
    if encoding == "zstd":
        return _zstd().ZstdDecompressor()
    if encoding == "lz4" and find_spec("lz4") is not None:
        import lz4.frame

        return lz4.frame.LZ4FrameDecompressor()
    raise _refusal(
        _NOT_IMPLEMENTED, f"content-encoding {encoding!r}: use gzip, deflate, lz4 or zstd", "NOT_IMPLEMENTED"
    )


def _zstd() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore] # Python 3.14 and later
    except ImportError:
        from backports import zstd
    return zstd


def _zstd_error() -> type[Exception]:
    error: type[Exception] = _zstd().ZstdError
    return error


def _password(request: web.Request) -> str:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return request.headers.get("X-ClickHouse-Key", request.query.get("password", ""))


def _refusal(code: int, message: str, name: str) -> EngineError:
    return EngineError(f"Code: {code}. DB::Exception: {message}. ({name})", code)
