"""Build the wheel, look into it, and use it where nothing else of ours is.

The wheel has exactly `schemas`, `detectors` and `streams` at its top level, with the files that are not Python
but needed. ``--no-install`` stops there; otherwise it is installed in an environment of its own, without the extra
``embedded``, from the lock file with every hash checked, and `driftgauge --help` has to answer from there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {"schemas", "detectors", "streams"}
NOT_CODE = {"__pycache__", ".DS_Store"}


def build(into: Path) -> Path:
    """Build the wheel with the backend of this environment and return its path."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(into), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = into.glob("driftgauge-*.whl")
    return wheel


def problems(wheel: Path) -> list[str]:
    """Return what is wrong with the wheel's contents, in sentences."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    found = []
    top = {name.partition("/")[0] for name in names}
    info = {name for name in top if name.endswith(".dist-info")}
    if len(info) != 1 or top - info != TOP_LEVEL:
        found.append(f"the wheel's top level is {sorted(top)}, not {sorted(TOP_LEVEL)} and one .dist-info")
    if not any(name.endswith("/licenses/LICENSE") for name in names):
        found.append("the wheel has no LICENSE")
    tracked = subprocess.run(
        ["git", "ls-files", *TOP_LEVEL], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\n")
    missing = {name for name in tracked if name and (ROOT / name).exists()} - names
    found += [f"the wheel lacks {name}, which git has" for name in sorted(missing)]
    found += [f"the wheel holds {name}" for name in sorted(names) if NOT_CODE & set(name.split("/"))]
    return found


def use(wheel: Path, folder: Path) -> None:
    """Install the wheel and its locked dependencies in a new environment, and run its command there."""
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    subprocess.run(
        [*install, "--require-hashes", "-r", str(ROOT / "deploy" / "docker" / "requirements.lock")], check=True
    )
    subprocess.run([*install, "--no-index", str(wheel)], check=True)
    helped = subprocess.run(
        [str(python.parent / "driftgauge"), "--help"], cwd=folder, check=True, capture_output=True, text=True
    )
    if "replay" not in helped.stdout:
        raise SystemExit(f"driftgauge --help of the installed wheel does not name its commands:\n{helped.stdout}")
    modules = "schemas.topics, detectors, streams"
    subprocess.run([str(python), "-c", f"import {modules}"], cwd=folder, check=True)


def main() -> int:
    """Build and check; install and use as well unless told otherwise."""
    with tempfile.TemporaryDirectory(prefix="driftgauge-wheel-") as temporary:
        wheel = build(Path(temporary))
        for problem in (found := problems(wheel)):
            print(problem, file=sys.stderr)
        if found:
            return 1
        if "--no-install" not in sys.argv[1:]:
            use(wheel, Path(temporary))
        print(
            f"wheel: {wheel.name}, {wheel.stat().st_size / 1e3:.0f} kB, {', '.join(sorted(TOP_LEVEL))} and nothing else"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
