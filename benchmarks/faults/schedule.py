"""What happens when: drawn from a seed, stored as JSON, played again from it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np

Kind = Literal[
    "kill", "term", "stop", "add", "remove", "broker", "clickhouse", "slack", "otlp",
    "malformed", "clocks", "disorder", "apply", "promote",
]  # fmt: skip

KINDS: tuple[Kind, ...] = get_args(Kind)
ROLES = ("detect", "store", "notify", "forward")
KNOWN = ("alpha", "beta")
LEARNED = "gamma"
MODELS = (*KNOWN, LEARNED)
SESSION_S = 6.0
CALM_START_S = 4.0
CALM_END_S = 4.0
GAP_S = 3.0
MAX_DETECT = 3

CLICKHOUSE = ("500", "503", "cut_before", "cut_after")
SLACK = ("429", "500", "cut", "cut_after")
OTLP = ("429", "503", "cut")


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happens `at_s` seconds after the traffic began.

    `role` and `index` say to whom (the index counts among those of the role that run then), `s` for how long,
    `n` how many, `plan` what a destination does with its next requests, `model` whose monitor or baseline.
    """

    at_s: float
    kind: Kind
    role: str = ""
    index: int = 0
    s: float = 0.0
    n: int = 0
    plan: list[str] = []
    model: str = ""


class Schedule(msgspec.Struct, frozen=True):
    """All faults of one seed, in order; the traffic is drawn from the same seed."""

    seed: int
    minutes: float
    detect: int
    faults: list[Fault]


def draw(seed: int, minutes: float) -> Schedule:
    """Return the schedule of a seed: what every run must survive, and as much again as there is time for."""
    rng = np.random.default_rng([seed, 1])
    last_s = 60.0 * minutes - CALM_END_S
    n_faults = max(8, int((last_s - CALM_START_S) / GAP_S))
    kinds: list[Kind] = ["kill", "stop", "kill", "add", "slack", "malformed", "remove", "clickhouse"]
    kinds += ["broker", "promote", "otlp", "clocks", "apply", "disorder", "term"]
    others: list[Kind] = [
        "kill",
        "kill",
        "kill",
        "term",
        "term",
        "stop",
        "add",
        "remove",
        "clickhouse",
        "slack",
        "otlp",
    ]
    others += ["malformed", "clocks", "disorder", "apply", "broker"]
    kinds = kinds[:n_faults] + [others[i] for i in rng.integers(0, len(others), max(0, n_faults - len(kinds)))]
    order = rng.permutation(len(kinds))
    times = np.sort(rng.uniform(CALM_START_S, max(CALM_START_S + 1, last_s), len(kinds))).round(1)
    faults, promoted = [], [str(model) for model in rng.permutation(KNOWN)]
    for at_s, kind in zip(times.tolist(), [kinds[i] for i in order], strict=True):
        if kind == "promote" and not promoted:
            continue
        faults.append(_fault(rng, at_s, kind, promoted))
    return Schedule(seed, minutes, int(rng.integers(1, MAX_DETECT + 1)), faults)


def _fault(rng: np.random.Generator, at_s: float, kind: Kind, promoted: list[str]) -> Fault:
    def some(words: tuple[str, ...]) -> list[str]:
        return [str(word) for word in rng.choice(words, int(rng.integers(1, 5)))]

    changes: dict[str, Any] = {}
    if kind in ("kill", "term"):
        changes = {"role": str(rng.choice(ROLES, p=[0.55, 0.15, 0.2, 0.1])), "index": int(rng.integers(0, 3))}
    elif kind == "stop":
        role = str(rng.choice(ROLES, p=[0.7, 0.1, 0.1, 0.1]))
        changes = {"role": role, "index": int(rng.integers(0, 3)), "s": round(SESSION_S + rng.uniform(1.5, 5.0), 1)}
    elif kind in ("add", "remove"):
        changes = {"role": "detect", "index": int(rng.integers(0, 3))}
    elif kind == "broker":
        changes = {"s": round(rng.uniform(0.5, 6.0), 1)}
    elif kind in ("clickhouse", "slack", "otlp"):
        changes = {"plan": some({"clickhouse": CLICKHOUSE, "slack": SLACK, "otlp": OTLP}[kind])}
        if rng.random() < 0.15:
            changes["plan"].append("slow")
    elif kind in ("malformed", "clocks", "disorder"):
        changes = {"n": int(rng.integers(20, 400)) if kind == "malformed" else int(rng.integers(5, 40))}
    elif kind == "apply":
        changes = {"model": str(rng.choice(KNOWN)), "n": int(rng.integers(0, 3))}
    elif kind == "promote":
        changes = {"model": promoted.pop()}
    return Fault(at_s, kind, **changes)


def without(schedule: Schedule, kinds: Collection[str]) -> Schedule:
    """Return the schedule without faults of some kinds; the others happen as they would have."""
    return msgspec.structs.replace(schedule, faults=[fault for fault in schedule.faults if fault.kind not in kinds])


def read(path: Path) -> Schedule:
    """Read a schedule from its file."""
    return msgspec.json.decode(path.read_bytes(), type=Schedule)


def write(schedule: Schedule, path: Path) -> None:
    """Write a schedule to a file."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(schedule), indent=1) + b"\n")


def words(fault: Fault) -> str:
    """Return one line that says what happens."""
    given = {name: getattr(fault, name) for name in ("role", "index", "s", "n", "plan", "model")}
    said = " ".join(f"{name}={value}" for name, value in given.items() if value)
    return f"{fault.at_s:6.1f} s  {fault.kind} {said}".rstrip()
