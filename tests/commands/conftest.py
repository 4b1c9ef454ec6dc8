"""The command line in this process, with nothing in its environment that a test did not put there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from streams import cli
from streams.commands import printing
from streams.embedded.clickhouse import EmbeddedClickHouse
from tests.engine.conftest import embedded_cluster
from tests.engine.running import Cluster, free_port
from tests.real import require_real

__all__ = ["embedded_cluster"]


class Outcome(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The output as JSON."""
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs `driftgauge` with arguments, in an empty folder, on nobody's broker."""
    for name in [name for name in os.environ if name.startswith("DRIFTGAUGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DRIFTGAUGE_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    for console in (printing.console, printing.errors):
        monkeypatch.setattr(console, "_width", 300)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, **environment: str) -> Outcome:
        with monkeypatch.context() as patched:
            for name, value in environment.items():
                patched.setenv(name, value)
            patched.setattr(sys, "argv", ["driftgauge", *arguments])
            code: Any = 0
            try:
                cli.main()
            except SystemExit as left:
                code = left.code
        captured = capsys.readouterr()
        return Outcome(int(code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def on(run: Run) -> Callable[..., Run]:
    """Return a function that binds `run` to a cluster."""

    def bind(cluster: Cluster, **more: str) -> Run:
        environment = {**cluster.environment, **more}
        return lambda *arguments: run(*arguments, **environment)

    return bind


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """One embedded store for the tests of a file."""
    require_real("chdb")
    with EmbeddedClickHouse(tmp_path_factory.mktemp("store")) as running:
        yield running
