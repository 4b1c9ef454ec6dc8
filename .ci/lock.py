"""Write or check the lock files.

`requirements.lock` is what `make demo` installs: the dependencies, the extra ``embedded`` and the build backend.
`deploy/docker/requirements.lock` is the same without the extra, for machines that have a ClickHouse of their own.
`requirements-dev.lock` adds what tests and checks need. The later ones have the versions of the first.
All are for Linux and macOS and Python 3.11 to 3.14, with a hash for every file, and name no place of origin.

``python .ci/lock.py`` resolves again, keeping versions where it can (``--upgrade`` does not);
``python .ci/lock.py --check`` compares without a network.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {
    "requirements.lock": ["--extra", "embedded", "--group", "setup"],
    "deploy/docker/requirements.lock": ["--group", "setup", "--constraints", "requirements.lock"],
    "requirements-dev.lock": ["--extra", "embedded", "--group", "dev", "--constraints", "requirements.lock"],
}
LINE = re.compile(r"^(#.*|[a-z0-9-]+==[^ ]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?)$")


def digest() -> str:
    """Return a digest of everything that decides what is resolved."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    client = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text(encoding="utf-8"))
    inputs = {
        "project": {
            name: project["project"].get(name) for name in ("requires-python", "dependencies", "optional-dependencies")
        },
        "groups": project["dependency-groups"],
        "client": client["project"].get("dependencies"),
        "options": LOCKS,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def header() -> str:
    """Return the first line of every file."""
    return f"# Made by `make lock`; do not edit. Inputs: sha256:{digest()}\n"


def write(extra: list[str]) -> None:
    """Resolve and write the files, the one the others follow first."""
    for name, options in LOCKS.items():
        command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *options, *extra]
        command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet", "--output-file", name]
        command += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        path = ROOT / name
        path.write_text(header() + path.read_text(encoding="utf-8"), encoding="utf-8")
        print(f"{name}: {len(re.findall(r'(?m)^[a-z0-9-]+==', path.read_text(encoding='utf-8')))} packages")


def problems() -> list[str]:
    """Return what is wrong with the files, in sentences."""
    found = []
    for name in LOCKS:
        path = ROOT / name
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else [""]
        if lines[0] + "\n" != header():
            found.append(f"{name} does not belong to this pyproject.toml: run `make lock`")
        found += [
            f"{name}:{n}: not a pinned package or its hash: {line}"
            for n, line in enumerate(lines, 1)
            if not LINE.match(line)
        ]
    return found


def main() -> int:
    """Check with ``--check``; otherwise write, handing other arguments to the resolver."""
    if sys.argv[1:] != ["--check"]:
        write(sys.argv[1:])
    for problem in (found := problems()):
        print(problem, file=sys.stderr)
    if not found:
        print("lock files: fresh, pinned, hashed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
