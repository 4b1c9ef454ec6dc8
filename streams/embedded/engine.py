"""ClickHouse's engine in this process (chdb), asked the way its HTTP interface is asked.

Source: ClickHouse documentation, "HTTP Interface"; `src/Server/HTTP/exceptionCodeToHTTPStatus.cpp` for the statuses.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

NO_CHDB = (
    "the embedded store needs chdb, which is not installed: pip install 'driftgauge[embedded]', "
    "or set DRIFTGAUGE_CLICKHOUSE_URL to a ClickHouse of your own"
)
MAX_QUERY_MEMORY_BYTES = 1 << 30
TRANSPORT = frozenset(
    [
        *("query", "database", "default_format", "user", "password", "quota_key", "role", "stacktrace", "query_id"),
        *("compress", "decompress", "enable_http_compression", "buffer_size", "wait_end_of_query"),
        *("session_id", "session_timeout", "session_check", "client_protocol_version"),
        *("send_progress_in_http_headers", "http_headers_progress_interval_ms"),
    ]
)
"""What a query string may carry that is not a setting of the engine."""

_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_CODE = re.compile(r"Code: (\d+)\. DB::")
_FORMAT_AT_END = re.compile(rb"\bFORMAT\s+(\w+)[\s;]*$", re.IGNORECASE)
_INSERT = re.compile(rb"\s*INSERT\s+INTO\b", re.IGNORECASE)
_READS = re.compile(rb"\s*(?:\(|(?:SELECT|WITH|SHOW|DESC|DESCRIBE|EXISTS|EXPLAIN|CHECK)\b)", re.IGNORECASE)
_TOKEN = re.compile(
    rb"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`(?:[^`\\]|\\.)*`|--[^\n]*|/\*.*?\*/"
    rb"|\bFORMAT\s+(?P<format>\w+)[ \t]*(?:\r?\n)?|\b(?P<inline>VALUES|SELECT|WITH|INFILE)\b",
    re.IGNORECASE | re.DOTALL,
)
_BAD_REQUEST = frozenset(
    [
        6,
        8,
        10,
        15,
        16,
        20,
        25,
        26,
        27,
        33,
        36,
        38,
        41,
        43,
        44,
        47,
        53,
        62,
        69,
        70,
        72,
        117,
        130,
        190,
        321,
        349,
        377,
        427,
        441,
    ]
)
_NOT_FOUND = frozenset([46, 50, 56, 60, 63, 73, 81, 115])


class EngineError(Exception):
    """The engine refused a statement. `code` is ClickHouse's, 0 when it gave none."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status ClickHouse answers with for this code, in its main groups."""
        if self.code in _BAD_REQUEST:
            return 400
        return 404 if self.code in _NOT_FOUND else 500


class StoreLocked(Exception):
    """Another process serves this directory."""


class Answer(NamedTuple):
    """What a statement came to; `format` is None for statements that return no rows."""

    body: bytes = b""
    format: str | None = None
    n_read: int = 0
    n_written: int = 0


class Engine:
    """One directory, one process. Statements may run in several threads at once.

    Parameters
    ----------
    path
        Where the data lives; made when it is not there.

    Raises
    ------
    StoreLocked
        When another process serves the directory.
    ModuleNotFoundError
        Without chdb; the message names both ways out.
    """

    def __init__(self, path: Path) -> None:
        try:
            chdb: Any = import_module("chdb")  # it has annotations in some releases and none in others
        except ImportError as missing:
            raise ModuleNotFoundError(NO_CHDB, name="chdb") from missing
        path.mkdir(parents=True, exist_ok=True)
        self._lock = (path / "driftgauge.lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as held:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise StoreLocked(
                f"{path} is served by another process (pid {owner}): stop it or use another --path"
            ) from held
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        self._path = str(path)
        self._connect = chdb.connect
        self._root = self._connect(self._path)  # keeps the engine open between statements

    def execute(self, statement: bytes, arguments: Mapping[str, str], *, writes: bool = True) -> Answer:
        """Run one statement in a session of its own.

        Parameters
        ----------
        statement
            SQL, and after an INSERT's FORMAT the data.
        arguments
            The query string: settings, ``database``, ``default_format``, bound ``param_<name>``.
        writes
            False makes the session read-only, as ClickHouse does for GET.

        Raises
        ------
        EngineError
            When the engine refuses it.
        """
        session = self._connect(self._path)
        try:
            if database := arguments.get("database"):
                escaped = database.replace("\\", "\\\\").replace("`", "\\`")
                session.query(f"USE `{escaped}`")
            session.query(_set(arguments, writes))
            insert = split_insert(statement)
            if insert is not None:
                head, format_name, data = insert
                stream = session.send_insert(head, format_name)
                stream.append(data)
                return Answer(n_written=stream.finish().rows_written)
            return _select(session, statement, arguments)
        except (RuntimeError, UnicodeDecodeError) as refused:
            text = str(refused)
            code = _CODE.search(text)
            raise EngineError(text[code.start() :] if code else text, int(code[1]) if code else 0) from None
        finally:
            session.close()

    def close(self) -> None:
        """Close the engine; what was acknowledged is on disk."""
        self._root.close()
        self._lock.close()


def split_insert(statement: bytes) -> tuple[str, str, bytes] | None:
    """Return (statement without data, format, data) of an INSERT that carries data, or None.

    >>> split_insert(b"INSERT INTO t (`a FORMAT b`) FORMAT Native\\n12")
    ('INSERT INTO t (`a FORMAT b`) ', 'Native', b'12')
    >>> split_insert(b"INSERT INTO t VALUES (1)")
    """
    if not _INSERT.match(statement):
        return None
    for token in _TOKEN.finditer(statement):
        if token["inline"]:
            return None
        if token["format"]:
            return statement[: token.start()].decode(), token["format"].decode(), statement[token.end() :]
    return None


def _set(arguments: Mapping[str, str], writes: bool) -> str:
    settings = {"max_memory_usage": str(MAX_QUERY_MEMORY_BYTES), "session_timezone": "UTC"}
    settings |= {k: v for k, v in arguments.items() if k not in TRANSPORT and not k.startswith("param_")}
    if not writes:
        settings["readonly"] = "2"
    for name in settings:
        if not _SETTING.fullmatch(name):
            raise EngineError(f"Code: 115. DB::Exception: Setting {name!r} is no identifier. (UNKNOWN_SETTING)", 115)
    return "SET " + ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items())


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _select(session: Any, statement: bytes, arguments: Mapping[str, str]) -> Answer:
    at_end = _FORMAT_AT_END.search(statement)
    format_name = at_end[1].decode() if at_end else arguments.get("default_format", "TabSeparated")
    bound = {name.removeprefix("param_"): value for name, value in arguments.items() if name.startswith("param_")}
    result = session.query(statement.decode(), format_name, params=bound)
    body = result.bytes() or b""
    returns_rows = bool(body) or at_end is not None or _READS.match(statement) is not None
    return Answer(body, format_name if returns_rows else None, result.rows_read(), result.rows_written())
