"""Parts of the real world a test may need, and what happens where they are absent.

On a person's machine a test without its part is skipped, and the end of the run says loudly which and why.
With ``STRICT=1`` (what ``.ci/run`` sets) the absence is a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

STRICT = os.environ.get("STRICT") == "1"

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


BUILT = Path(__file__).resolve().parent.parent / ".cache" / "bin"

NOT_DEMANDED = "not demanded"


def command(*names: str) -> str:
    """Return the path of the first of these commands that exists, or the empty string."""
    path = os.pathsep.join([str(BUILT), os.environ.get("PATH", "")])
    return next((found for name in names if (found := shutil.which(name, path=path))), "")


def module(name: str) -> str:
    """Return the file of an installed module, or the empty string."""
    spec = find_spec(name)
    return spec.origin or "" if spec else ""


PARTS: dict[str, tuple[Callable[[], str], str]] = {
    "java": (lambda: command("java"), "install a Java runtime (Debian: openjdk-17-jre-headless)"),
    "maven": (lambda: command("mvn"), "install Maven (Debian: maven)"),
    "promtool": (lambda: command("promtool"), "install Prometheus (Debian: prometheus)"),
    "prometheus": (lambda: command("prometheus"), "install Prometheus (Debian: prometheus)"),
    "amtool": (lambda: command("amtool"), "install Alertmanager (Debian: prometheus-alertmanager)"),
    "chromium": (lambda: command(*CHROMIUM_NAMES), "install Chromium (Debian: chromium)"),
    "chdb": (lambda: module("chdb"), "install the extra: pip install 'driftgauge[embedded]'"),
    "compose": (
        lambda: command("docker-compose"),
        f"put Docker Compose v2.20 or later as docker-compose on PATH ({NOT_DEMANDED} by STRICT=1)",
    ),
}


def missing(part: str, remedy: str) -> NoReturn:
    """Skip the test that asks for an absent part, or fail it in strict mode."""
    text = f"{part} is not here: {remedy}"
    if STRICT and NOT_DEMANDED not in remedy:
        pytest.fail(f"STRICT=1 and {text}", pytrace=False)
    pytest.skip(text)


def require_real(part: str) -> Path:
    """Return where a real part of `PARTS` is; skip or fail the calling test when it is not.

    Examples
    --------
    ``promtool = require_real("promtool")`` at the start of a test or fixture.
    """
    find, remedy = PARTS[part]
    if not (found := find()):
        missing(part, remedy)
    return Path(found)
