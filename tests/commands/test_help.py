"""Every command explains itself and gives an example that exists."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer

from streams.cli import app
from tests.commands.conftest import Run

ROOT: Any = typer.main.get_command(app)


def _commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        here = (*path, name)
        found += _commands(command, here) if hasattr(command, "commands") else [here]
    return found


COMMANDS = _commands(ROOT)


def _known(words: list[str]) -> Any:
    """Return the command an example names."""
    node: Any = ROOT
    for word in words:
        if not hasattr(node, "commands"):
            break
        assert word in node.commands, f"there is no `driftgauge {' '.join(words)}`"
        node = node.commands[word]
    assert not hasattr(node, "commands"), words
    return node


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_exists(run: Run, path: tuple[str, ...]) -> None:
    shown = run(*path, "--help")
    assert shown.code == 0
    text = " ".join(shown.out.replace("│", " ").split())
    examples = re.findall(r"`?((?:[A-Z_]+=\S+ )?driftgauge [^`·│]+)`?", text.partition("Example")[2])
    assert examples, text
    for example in examples:
        words = [word for word in shlex.split(example) if "=" not in word or word.startswith("-")]
        command = _known(words[1 : 1 + len(path)])
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= options, example


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    shown = run()
    assert shown.code in (0, 2)
    for name in ROOT.commands:
        assert name in shown.out + shown.err


@pytest.mark.parametrize("arguments", [("nothing",), ("baseline", "nothing"), ("run",), ("topics", "check", "--what")])
def test_wrong_use_is_exit_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).code == 2


def test_an_unknown_role_is_told_the_roles(run: Run) -> None:
    shown = run("run", "everything")
    assert shown.code == 2
    assert "detect" in shown.err
    assert "notify" in shown.err
