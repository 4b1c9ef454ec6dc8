"""What must never stand in this repository, and what must."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("schemas", "detectors", "streams", "client")
BINARY = {".parquet", ".png", ".woff2", ".ico", ".gz"}
LOCKED = re.compile(r"(^|/)requirements[a-z-]*\.lock$")
LARGEST_BYTES = 2_000_000

# Written in two parts so that this file does not hold what it looks for.
MACHINE_FOLDERS = ("wo" + "rk/", "ro" + "ot/", "ho" + r"me/\w+/", "Us" + r"ers/\w+/", "op" + "t/wheels/")
MACHINE_PATH = re.compile(r"(?<![\w.:/$}])/(?:" + "|".join(MACHINE_FOLDERS) + ")")
REGISTRIES = ("py" + "pi.org", "pythonho" + "sted", "repo1.mav" + "en", "repo.mav" + "en", "proxy.go" + "lang")
MORE_REGISTRIES = ("registry.npm" + "js", "deb.deb" + "ian.org", "crat" + "es.io")
REGISTRY_HOSTS = re.compile("|".join(re.escape(name) for name in (*REGISTRIES, *MORE_REGISTRIES)))
BARE_NOQA = re.compile(r"#\s*(?:ruff:\s*)?noqa(?!:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*\s+[-#]\s+\S.{8,})", re.IGNORECASE)
BARE_TYPE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[[a-z-]+(?:,\s*[a-z-]+)*\]\s+#\s*\S.{8,})")
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle"}
UNSAFE_CALLS = {"eval", "exec", "compile"}


def tracked(*suffixes: str) -> list[Path]:
    """Return the files git knows, those with one of the suffixes if any are given."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in names.split("\0") if name]
    return [path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes)]


def lines() -> Iterator[tuple[str, str]]:
    """Yield ``file:line`` and the line's text for every tracked text file but the lock files."""
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in BINARY or LOCKED.search(name):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{name}:{number}", line


def product() -> list[tuple[str, ast.Module]]:
    """Return name and syntax tree of every Python file of the product."""
    return [
        (name, ast.parse(path.read_text(encoding="utf-8")))
        for path in tracked(".py")
        if (name := path.relative_to(ROOT).as_posix()).split("/")[0] in PRODUCT
    ]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (MACHINE_PATH, "a path of one machine"),
        (REGISTRY_HOSTS, "the host of a package registry"),
        (re.compile(r"^(<{7}|>{7}) "), "a merge conflict"),
    ],
    ids=["machine paths", "registry hosts", "merge conflicts"],
)
def test_no_line_holds(pattern: re.Pattern[str], why: str) -> None:
    found = [f"{where}: {line.strip()[:100]}" for where, line in lines() if pattern.search(line)]
    assert not found, f"{why} in:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (MACHINE_PATH, 'open("/' + MACHINE_FOLDERS[1] + 'project")'),
        (REGISTRY_HOSTS, "--index-url https://" + REGISTRIES[0] + "/simple"),
        (BARE_NOQA, "x  # no" + "qa"),
        (BARE_NOQA, "x  # no" + "qa: E501"),
        (BARE_TYPE_IGNORE, "x  # type: ign" + "ore"),
        (BARE_TYPE_IGNORE, "x  # type: ign" + "ore[misc]"),
    ],
)
def test_patterns_find_what_they_are_for(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)


@pytest.mark.parametrize("pattern", [BARE_NOQA, BARE_TYPE_IGNORE], ids=["noqa", "type: ignore"])
def test_every_ignore_names_its_code_and_its_reason(pattern: re.Pattern[str]) -> None:
    found = [
        f"{where}: {line.strip()[:120]}"
        for where, line in lines()
        if where.partition(":")[0].endswith(".py") and "test_repository.py" not in where and pattern.search(line)
    ]
    assert not found, "write `# noqa: CODE - reason` or `# type: ignore[code]  # reason`:\n" + "\n".join(found)


def test_lock_files_name_no_place_of_origin() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in tracked(".lock")}
    assert {"requirements.lock", "requirements-dev.lock"} <= set(texts)
    for name, text in texts.items():
        assert "://" not in text, name
        assert not re.search(r"(?m)^\s*(-|--)(i|f|index-url|extra-index-url|find-links)\b", text), name
        assert not re.search(r"(?m)\s@\s|^[./]", text), name


def unsafe(node: ast.AST) -> str:
    """Return what is unsafe about a piece of code, or the empty string."""
    match node:
        case ast.Import(names=names):
            modules = [alias.name.split(".")[0] for alias in names]
        case ast.ImportFrom(module=str(origin)):
            modules = [origin.split(".")[0]]
        case ast.Call(func=ast.Name(id=name)) if name in UNSAFE_CALLS:
            return f"calls {name}"
        case ast.Call(keywords=keywords):
            flags = {keyword.arg for keyword in keywords if getattr(keyword.value, "value", None) is True}
            return f"passes {flag}=True" if (flag := next(iter(flags & {"shell", "allow_pickle"}), None)) else ""
        case _:
            modules = []
    return f"imports {module}" if (module := next(iter(UNSAFE_MODULES.intersection(modules)), None)) else ""


def test_no_product_code_unpickles_or_evaluates() -> None:
    found = [
        f"{name}:{getattr(node, 'lineno', 0)} {what}"
        for name, tree in product()
        for node in ast.walk(tree)
        if (what := unsafe(node))
    ]
    assert not found


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from dill import loads", "eval('1')", "f(shell=True)", "numpy.load(p, allow_pickle=True)"],
)
def test_unsafe_code_would_be_found(code: str) -> None:
    assert any(unsafe(node) for node in ast.walk(ast.parse(code)))


def test_every_script_parses_and_may_be_run() -> None:
    scripts = [path for path in tracked() if path.suffix in {"", ".sh"} and path.read_bytes()[:2] == b"#!"]
    assert {"run", "real-parts", "make-secrets"} <= {path.name for path in scripts}
    for path in scripts:
        assert os.access(path, os.X_OK), path
        if b"bash" in path.read_bytes().split(b"\n", 1)[0]:
            subprocess.run(["bash", "-n", path], check=True)


def test_no_tracked_file_is_large() -> None:
    large = {path.name: path.stat().st_size for path in tracked() if path.stat().st_size > LARGEST_BYTES}
    assert not large


def test_generated_things_are_not_tracked() -> None:
    forbidden = {".venv", ".demo", ".cache", ".bench", "__pycache__", "node_modules", "secrets", "dist", "build"}
    assert not [path for path in tracked() if forbidden & set(path.relative_to(ROOT).parts[:-1])]


def test_readme_speaks_of_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?m)(?:^|`|\$ |&& )\s*make ([a-z-]+)", readme))
    assert {"demo", "test"} <= named
    assert named <= targets


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in tracked(".md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:|#", target) and not (path.parent / target.partition("#")[0]).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken
