"""The demo before and after its run: ports, folders, what it tells people to paste. `make demo` is the run itself."""

from __future__ import annotations

import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from streams.commands import demo
from streams.commands.demo import DemoError, check_free, replay_line
from tests.commands.conftest import Run


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody listens on, with room for the roles' ports above it."""
    for port in range(20_000, 30_000, 7):
        try:
            with socket.create_server(("127.0.0.1", port)):
                yield port
                return
        except OSError:
            continue


def test_a_taken_port_ends_the_demo_before_anything_starts(run: Run, tmp_path: Path, taken: int) -> None:
    for first in (taken, taken - 2):  # the panel's own, and that of a role
        shown = run("demo", "--port", str(first))
        assert shown.code == 2
        assert f"port {taken}" in shown.err
        assert "--port" in shown.err.partition("End it")[2], "it says what to do"
    assert not (tmp_path / ".demo").exists()


def test_free_ports_are_no_hindrance_and_an_address_that_is_not_ours_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    check_free("127.0.0.1", [port])
    check_free("127.0.0.1", [port])
    with pytest.raises(DemoError, match="DRIFTGAUGE_BIND"):
        check_free("192.0.2.1", [port])


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_every_run_has_a_folder_of_its_own_and_removes_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: type[BaseException]
) -> None:
    used: list[Path] = []

    class Ending:
        """Stands for the embedded parts, and ends where they would begin."""

        def __init__(self, _settings: Any, path: Path) -> None:
            used.append(path)

        def __enter__(self) -> None:
            (used[-1] / "store").mkdir()
            raise failure

        def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
            """Never reached."""

    monkeypatch.setattr(demo, "Embedded", Ending)
    monkeypatch.setattr(demo, "check_free", lambda _host, _ports: None)
    monkeypatch.setattr(signal, "signal", lambda _number, _handler: None)
    running = tmp_path / "run-12-abc" / "store"
    running.mkdir(parents=True)
    (tmp_path / "result.json").write_text("{}")
    for _ in range(2):
        with pytest.raises(failure):
            demo.demo(data=tmp_path)
    assert len(set(used)) == 2
    assert all(path.parent == tmp_path and path.name.startswith("run-") for path in used)
    assert {path.name for path in tmp_path.iterdir()} == {running.parent.name, "result.json"}
    assert running.exists()


@pytest.mark.parametrize("program", ["/opt/my tools/bin/driftgauge", ".venv/bin/driftgauge", "/x/streams/cli.py"])
def test_the_replay_line_can_be_pasted(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(sys, "argv", [program, "demo"])
    words = shlex.split(replay_line())
    start = words.index("replay")
    assert words[:start] == ([sys.executable, "-m", "streams.cli"] if program.endswith(".py") else [program])
    for file in (words[start + 1], words[words.index("--reference") + 1]):
        assert Path(file).is_absolute()
        assert Path(file).is_file()
