"""`make` sets up the environment once, says what is missing, and the lock files belong to pyproject.toml."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAMPS = ("python", "runtime", "dev", "project")
DOES = {"runtime": "-r requirements.lock", "dev": "-r requirements-dev.lock", "project": "--editable"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with what `make` reads, and nothing made yet."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "client").mkdir()
    shutil.copy(ROOT / "client" / "pyproject.toml", tmp_path / "client")
    return tmp_path


def make(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run make in a folder, outside the environment of any make that runs these tests."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "STRICT", "PYTHON", "ARGS")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    if path is not None:
        environment["PATH"] = path
    command = shutil.which("make")
    assert command is not None
    return subprocess.run(
        [command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def made(clone: Path) -> None:
    """Pretend that every step of the environment is done."""
    (clone / ".venv" / ".made").mkdir(parents=True)
    for name in STAMPS:
        (clone / ".venv" / ".made" / name).touch()


def fake_python(folder: Path, script: str) -> str:
    """Put a python3 that runs `script` into a folder and return a PATH of it and the bare tools."""
    folder.mkdir()
    (folder / "python3").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / "python3").chmod(0o755)
    for tool in ("bash", "sh", "awk", "mkdir", "touch"):
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    return str(folder)


def test_bare_make_lists_every_target_with_a_line_and_makes_nothing(clone: Path) -> None:
    done = make(clone)
    assert done.returncode == 0, done.stderr
    phony = re.findall(r"(?m)^\.PHONY: (\S+)$", (clone / "Makefile").read_text(encoding="utf-8"))
    listed = re.findall(r"(?m)^  ([a-z-]+) +\S", done.stdout)
    assert listed == phony
    assert {"demo", "test", "check", "format", "lock", "bench-throughput"} <= set(listed)
    assert not (clone / ".venv").exists()


def test_environment_that_is_made_is_left_alone(clone: Path) -> None:
    made(clone)
    began = time.monotonic()
    done = make(clone, "setup")
    assert done.returncode == 0, done.stderr
    assert done.stdout in ("", "make: Nothing to be done for 'setup'.\n")
    assert time.monotonic() - began < 0.3


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("requirements.lock", {"runtime", "project"}),
        ("requirements-dev.lock", {"dev"}),
        ("client/pyproject.toml", {"project"}),
    ],
)
def test_changed_file_makes_only_its_steps_anew(changed: str, stale: set[str], clone: Path) -> None:
    made(clone)
    later = time.time() + 10
    os.utime(clone / changed, (later, later))
    planned = make(clone, "--dry-run", "setup").stdout
    assert {step for step, command in DOES.items() if command in planned} == stale


def test_old_python_is_refused_in_words(clone: Path) -> None:
    path = fake_python(clone / "bin", '[ "$1" = --version ] && echo "Python 3.9.2"; [ "$1" = --version ]')
    done = make(clone, "setup", path=path)
    assert done.returncode != 0
    assert "needs Python 3.11, 3.12, 3.13 or 3.14; found: Python 3.9.2" in done.stderr


def test_python_without_venv_is_refused_with_the_fix(clone: Path) -> None:
    path = fake_python(clone / "bin", 'case "$2" in *ensurepip*) exit 1;; esac; exit 0')
    done = make(clone, "setup", path=path)
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr


def test_named_python_is_checked_too(clone: Path) -> None:
    fake_python(clone / "bin", '[ "$1" = --version ] && echo "Python 3.10.1"; [ "$1" = --version ]')
    done = make(clone, "setup", f"PYTHON={clone / 'bin' / 'python3'}")
    assert done.returncode != 0
    assert "is Python 3.10.1; driftgauge needs 3.11 to 3.14" in done.stderr


def test_lock_files_are_fresh_pinned_and_hashed() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "lock.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_stale_lock_file_is_found(clone: Path) -> None:
    (clone / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "lock.py", clone / ".ci")
    shutil.copytree(ROOT / "deploy" / "docker", clone / "deploy" / "docker", ignore=shutil.ignore_patterns("secrets"))
    project = clone / "pyproject.toml"
    project.write_text(project.read_text(encoding="utf-8").replace('"tenacity', '"trio", "tenacity'), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, clone / ".ci" / "lock.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "requirements.lock does not belong to this pyproject.toml: run `make lock`" in done.stderr


def test_client_needs_nothing_the_product_does_not_lock() -> None:
    client = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[^a-zA-Z0-9-]", requirement)[0] for requirement in client["dependencies"]}
    assert names == {"confluent-kafka", "orjson"}
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert all(f"\n{name}==" in locked for name in names)
