"""Where a benchmark leaves its figures, and what it was measured on."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import orjson

FOLDER = Path(".bench")
PACKAGES = (
    "driftgauge",
    "faust-streaming",
    "aiokafka",
    "confluent-kafka",
    "numpy",
    "orjson",
    "pyarrow",
    "river",
    "scipy",
)


def versions(**others: str) -> dict[str, str]:
    """Return the versions of Python, of the packages that matter to speed, and of `others`."""
    found = {"python": platform.python_version(), "machine": f"{platform.machine()}, {os.cpu_count()} cores", **others}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def command() -> str:
    """Return the command that runs this process."""
    long = "LONG=1 " if os.environ.get("LONG") == "1" else ""
    module = getattr(sys.modules["__main__"].__spec__, "name", sys.argv[0]).removesuffix(".__main__")
    return f"{long}python -m {module} {shlex.join(sys.argv[1:])}".strip()


def now() -> str:
    """Return the time in RFC 3339, for `started`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(
    name: str,
    figures: Mapping[str, float | Sequence[float]],
    *,
    started: str,
    measured_on: Mapping[str, str],
    details: Mapping[str, object] | None = None,
    folder: Path = FOLDER,
) -> Path:
    """Write ``NAME.json``: figure to number, with `versions`, `command`, `started` and any details beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    beside: dict[str, object] = {"versions": dict(measured_on), "command": command(), "started": started}
    if details is not None:
        beside["details"] = dict(details)
    path.write_bytes(orjson.dumps({**figures, **beside}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return path
