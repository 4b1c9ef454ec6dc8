"""What each role may do on Kafka, once: the preflight asks for it, the docs and `driftgauge acls` are made from it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from schemas import topics
from schemas.topics import Topic

Operation = Literal["READ", "WRITE", "DELETE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS"]
Operations = Mapping[Topic, tuple[Operation, ...]]

_READ: tuple[Operation, ...] = ("READ",)
_WRITE: tuple[Operation, ...] = ("WRITE",)
_BOTH: tuple[Operation, ...] = ("READ", "WRITE")
_CONTROL = (topics.BASELINES, topics.MONITORS)
_JUDGED = (topics.RESULTS, topics.ALERTS)

TOPICS: Mapping[str, Operations] = MappingProxyType(
    {
        "detect": {
            topics.EVENTS: _READ,
            **dict.fromkeys((topics.EVIDENCE, topics.LEARNING, *_CONTROL), _BOTH),
            **dict.fromkeys((*_JUDGED, topics.DEAD), _WRITE),
            **dict.fromkeys(topics.SNAPSHOTS, (*_BOTH, "DELETE")),  # old snapshots are deleted
        },
        "store": {
            **dict.fromkeys((topics.EVENTS, topics.FEEDBACK, *_CONTROL, *_JUDGED), _READ),
            topics.DEAD: _WRITE,
        },
        "notify": {topics.ALERTS: _READ},
        "forward": {topics.SPANS: _READ, topics.DEAD: _WRITE},
        "panel": dict.fromkeys((*_CONTROL, *_JUDGED), _READ),
        "commands": {
            topics.EVENTS: _READ,
            topics.DEAD: _READ,
            topics.EVIDENCE: _WRITE,
            **dict.fromkeys(_CONTROL, _BOTH),
        },
        "client": dict.fromkeys((topics.EVENTS, topics.FEEDBACK), _WRITE),
    }
)
"""Per role, and for the people's `commands` and the services' `client`. READ and WRITE include DESCRIBE."""

GROUPLESS = frozenset({"panel", "commands", "client"})


def group_of(role: str, prefix: str) -> str | None:
    """Return the consumer group a role reads as, None when it reads without one."""
    return None if role in GROUPLESS else f"{prefix}-{role}"


def commands(role: str, principal: str, group_prefix: str, bootstrap_servers: str) -> list[str]:
    """Return the `kafka-acls.sh` commands that allow a principal what a role needs.

    DESCRIBE_CONFIGS lets the preflight compare message sizes; without it they are not checked.
    """
    start = f"kafka-acls.sh --bootstrap-server {shlex.quote(bootstrap_servers)} --add"
    start += f" --allow-principal {shlex.quote(principal)}"
    made = []
    for topic, operations in TOPICS[role].items():
        allowed = operations if role == "client" else (*operations, "DESCRIBE_CONFIGS")
        options = " ".join(f"--operation {kafka_name(operation)}" for operation in allowed)
        made.append(f"{start} {options} --topic {topic.name}")
    if (group := group_of(role, group_prefix)) is not None:
        made.append(f"{start} --operation Read --group {shlex.quote(group)}")
    if role == "commands":  # `topics create` and `topics check`
        made.append(f"{start} --operation Create --cluster")
        made.append(f"{start} --operation Describe --operation DescribeConfigs --topic '*'")
    return made


def kafka_name(operation: Operation) -> str:
    """Return how `kafka-acls.sh` spells an operation.

    >>> kafka_name("DESCRIBE_CONFIGS")
    'DescribeConfigs'
    """
    return "".join(word.capitalize() for word in operation.split("_"))


def table() -> str:
    """Return the operations of every role as Markdown, as the docs show them."""
    lines = ["| role | topics | operations |", "|---|---|---|"]
    for role, operations in TOPICS.items():
        by_operations: dict[tuple[Operation, ...], list[str]] = {}
        for topic, allowed in operations.items():
            by_operations.setdefault(allowed, []).append(f"`{topic.name}`")
        for number, (allowed, names) in enumerate(by_operations.items()):
            first = f" `{role}`" if number == 0 else ""
            lines.append(f"|{first} | {', '.join(names)} | {', '.join(map(kafka_name, allowed))} |")
        if (group := group_of(role, "driftgauge")) is not None:
            lines.append(f"| | group `{group}` | Read |")
    return "\n".join(lines) + "\n"
