"""The detection core is pure: it imports nothing that touches the world, and nothing of the streams."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import detectors
import schemas

FORBIDDEN = {
    "streams", "driftgauge_client", "tests", "asyncio", "logging", "time", "io", "os", "pathlib", "socket", "random",
    "threading", "subprocess", "pickle", "tempfile", "shutil", "faust", "aiokafka", "confluent_kafka", "aiohttp",
    "uuid", "secrets", "sys",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "time_ns", "monotonic"}


def files(package: object) -> list[Path]:
    return sorted(Path(str(next(iter(package.__path__)))).rglob("*.py"))  # type: ignore[attr-defined]  # packages have it


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", files(detectors), ids=lambda path: path.name)
def test_detectors_import_nothing_that_touches_the_world(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & FORBIDDEN


@pytest.mark.parametrize("path", files(detectors), ids=lambda path: path.name)
def test_detectors_ask_no_clock_open_no_file_and_keep_no_globals(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Global), f"{path.name}:{node.lineno}: global"
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in CLOCKS | {"open", "print", "eval", "exec"}, f"{path.name}:{node.lineno}: {name}()"
        if isinstance(node, ast.Attribute) and node.attr == "random":
            pytest.fail(f"{path.name}:{node.lineno}: random numbers")


@pytest.mark.parametrize("path", files(schemas), ids=lambda path: path.name)
def test_schemas_import_neither_detectors_nor_streams(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & {"detectors", "streams", "driftgauge_client"}
