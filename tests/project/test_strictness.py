"""A real part that is absent is skipped loudly on a person's machine and fails a strict run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import pytest
from tests.real import missing

def test_asks_for_a_part():
    missing("warp drive", "{remedy}")

def test_passes():
    pass
"""
BARE_SKIP = "\n@pytest.mark.skip(reason='not today')\ndef test_skipped():\n    pass\n"


def run(folder: Path, program: str, strict: bool) -> subprocess.CompletedProcess[str]:
    """Run a test file under our conftest and nothing else of ours."""
    (folder / "test_it.py").write_text(program, encoding="utf-8")
    environment = os.environ | {"STRICT": "1" if strict else "", "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    options = ["-c", os.devnull, "--rootdir", str(folder), "-p", "tests.conftest", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "pytest", *options, "-o", "markers=kafka", "test_it.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    ("program", "strict", "code", "says"),
    [
        (PROGRAM.format(remedy="build one"), False, 0, "1 skipped: warp drive is not here: build one"),
        (PROGRAM.format(remedy="build one"), True, 1, "STRICT=1 and warp drive is not here: build one"),
        (PROGRAM.format(remedy="not demanded"), True, 0, "1 skipped: warp drive is not here: not demanded"),
        (f"import pytest\n{BARE_SKIP}", True, 1, "1 FAILED, STRICT=1: not today"),
        (f"import pytest\n{BARE_SKIP}", False, 0, "1 skipped: not today"),
        ("def test_passes():\n    pass\n", True, 0, "1 passed"),
    ],
    ids=["absent", "absent, strict", "not demanded, strict", "skip, strict", "skip", "nothing skipped, strict"],
)
def test_absence_is_loud_and_in_a_strict_run_fatal(
    program: str, strict: bool, code: int, says: str, tmp_path: Path
) -> None:
    done = run(tmp_path, program, strict)
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stdout
