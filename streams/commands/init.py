"""`driftgauge init`: files to start from, and a mapping proposed from the messages of a topic."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import yaml

from schemas.columns import Batch
from schemas.leaves import Leaf
from schemas.mapped import MappedDecoder
from schemas.proposal import Guess, Proposal, propose
from schemas.records import Record
from schemas.sources import Mapping, readable
from streams.catalogue import FOREVER
from streams.commands.monitors import plain_source
from streams.commands.printing import Json, console, errors, show, utc
from streams.commands.starting import MONITOR, SETTINGS
from streams.engine import preflight
from streams.engine.follow import newest_records
from streams.settings import Settings, SettingsError, load

SHOWN_ROWS = 3
HIDDEN = "hidden"


def init(
    from_topic: Annotated[
        str | None, typer.Option("--from-topic", metavar="TOPIC", help="Existing topic to propose a mapping for.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="The model's name.")] = None,
    write: Annotated[Path | None, typer.Option(help="File for the monitor; without it a mapping is printed.")] = None,
    messages: Annotated[int, typer.Option(min=1, max=5_000, help="How many of the newest messages to read.")] = 100,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Show values too, but of fields that look personal.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Write over files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented monitor and settings to start from, or propose how to map an existing topic.

    Nothing is changed on the cluster; `driftgauge monitor apply` does that.

    Examples: `driftgauge init` · `driftgauge init --from-topic scores --model credit-risk --write credit-risk.yaml`
    """
    if from_topic is None:
        _start(model or "my-model", write or Path("monitor.yaml"), force)
        return
    if not readable(from_topic):
        raise SettingsError(f"--from-topic {from_topic}: that is a topic of driftgauge or of Kafka; name one of yours")
    records = _read(load(), from_topic, messages)
    proposal = propose(from_topic, records)
    name = model or _model(proposal, from_topic)
    decoded = _decoded(proposal, name, records)
    if as_json:
        typer.echo(orjson.dumps(_plain(proposal, name, decoded, show_values), option=orjson.OPT_INDENT_2).decode())
    else:
        _tell(from_topic, proposal, decoded, show_values)
    if proposal.source is None or name is None:
        why = "no mapping can be proposed" if name is not None else "several models are in it: choose one with --model"
        raise SettingsError(f"{from_topic}: {why}{_models(proposal, show_values) if name is None else ''}")
    text = _yaml(name, proposal)
    if write is not None:
        _write(write, text, force)
        errors.print(f"{write}: look at it, then `driftgauge monitor apply {write} --dry-run`", markup=False)
    elif not as_json:
        typer.echo("\n" + text, nl=False)


def _start(model: str, monitor: Path, force: bool) -> None:
    settings = Path("driftgauge.toml")
    for path, text in ((monitor, MONITOR.replace("my-model", model)), (settings, SETTINGS)):
        _write(path, text, force)
    console.print(
        f"Wrote {monitor} and {settings}. Next: `driftgauge topics create`, `driftgauge doctor`, "
        f"`driftgauge monitor apply {monitor}`, `driftgauge run all`.",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _write(path: Path, text: str, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SettingsError(f"{path} is there already; give another name with --write, or --force") from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None


def _read(settings: Settings, topic: str, n_messages: int) -> list[Record]:
    found = preflight.existing(settings)
    if topic not in found:
        near = ", ".join(sorted(name for name in found if readable(name))[:10])
        raise SettingsError(f"--from-topic {topic}: there is no such topic{f'; there are {near}' if near else ''}")
    records = asyncio.run(newest_records(settings, topic, n_messages, lambda record: record.value is not None))
    if not records:
        raise SettingsError(f"--from-topic {topic}: it holds no messages to look at")
    return sorted(records, key=lambda record: (record.timestamp, record.partition, record.offset))


def _model(proposal: Proposal, topic: str) -> str | None:
    """Return the model the messages name; the topic where they name none, None where they name several."""
    return topic if not proposal.models else proposal.models[0] if len(proposal.models) == 1 else None


def _models(proposal: Proposal, show_values: bool) -> str:
    if not show_values:
        return f" ({len(proposal.models)} names; --show-values lists them)"
    return f" ({', '.join(proposal.models[:20])})"


class _Decoded:
    """What the proposed mapping makes of the messages it was made from."""

    def __init__(self, batches: Sequence[Batch], reasons: Counter[str], n_waiting: int) -> None:
        self.batches, self.reasons, self.n_waiting = batches, reasons, n_waiting
        self.n_rows = sum(len(batch.times) for batch in batches)

    def rows(self) -> list[dict[str, Any]]:
        """Return the first rows as plain values."""
        found: list[dict[str, Any]] = []
        for batch in self.batches:
            for at in range(min(SHOWN_ROWS - len(found), len(batch.times))):
                values = {name: _value(column, at) for name, column in batch.columns.items()}
                identity = batch.ids[at] if batch.ids else None
                found.append({"time": int(batch.times[at]), "id": identity, "version": batch.version, **values})
        return found


def _value(column: Any, at: int) -> Any:
    if column.codes is not None and column.codes[at] >= 0:
        return column.levels[column.codes[at]]
    number = float("nan") if column.numbers is None else float(column.numbers[at])
    return None if number != number else number


def _decoded(proposal: Proposal, model: str | None, records: Sequence[Record]) -> _Decoded:
    if proposal.source is None:
        return _Decoded([], Counter(), 0)
    name = model or (proposal.models[0] if proposal.models else "model")
    mappings = (Mapping(name, 0, FOREVER, proposal.source),)
    batches: list[Batch] = []
    reasons: Counter[str] = Counter()
    n_waiting = 0
    for partition in sorted({record.partition for record in records}):
        decoder = MappedDecoder(lambda: mappings)
        mine = [record for record in records if record.partition == partition]
        found = decoder.decode(sorted(mine, key=lambda record: record.offset))
        batches += found.batches
        reasons.update(f"{bad.reason}: {bad.detail}" for bad in found.rejected)
        n_waiting += decoder.n_waiting
    return _Decoded(batches, reasons, n_waiting)


def _tell(topic: str, proposal: Proposal, decoded: _Decoded, show_values: bool) -> None:
    fields = [
        (leaf.path, ", ".join(leaf.kinds) or "null", len(leaf.values), leaf.n_distinct, _example(leaf, show_values))
        for leaf in proposal.leaves
    ]
    show(f"{topic}: fields of {proposal.n_read} messages", FIELDS, fields, False)
    show("Proposed", ("field", "stands at", "because"), proposal.guesses, False)
    for line in proposal.undecided:
        console.print(f"? {line}", markup=False, soft_wrap=True)
    personal = {leaf.name for leaf in proposal.leaves if leaf.personal}
    for number, row in enumerate(decoded.rows(), 1):
        values = ", ".join(f"{name} {_shown(name, value, personal, show_values)}" for name, value in row.items())
        console.print(f"row {number}: {values}", markup=False, soft_wrap=True)
    waiting = f", {decoded.n_waiting} messages wait for their other half" if decoded.n_waiting else ""
    console.print(f"{decoded.n_rows} rows from {proposal.n_read} messages{waiting}", markup=False)
    for reason, n in decoded.reasons.most_common(5):
        console.print(f"{n} messages do not fit: {reason}", markup=False, soft_wrap=True)


FIELDS = ("path", "types", "present", "different", "example")


def _example(leaf: Leaf, show_values: bool) -> str:
    if not show_values or not leaf.values:
        return ""
    return HIDDEN if leaf.personal else str(leaf.values[-1])[:40]


def _shown(name: str, value: Any, personal: set[str], show_values: bool) -> str:
    if name == "time":
        return utc(value)
    if value is None:
        return "missing"
    kind = "number" if isinstance(value, float) else "text"
    hidden = Leaf(name).name in personal or Leaf(name).personal
    return kind if not show_values else HIDDEN if hidden else str(value)[:40]


def _plain(proposal: Proposal, model: str | None, decoded: _Decoded, show_values: bool) -> dict[str, Any]:
    return {
        "model": model,
        "source": None if proposal.source is None else plain_source(proposal.source),
        "guesses": [dict(zip(Guess._fields, guess, strict=True)) for guess in proposal.guesses],
        "undecided": proposal.undecided,
        "fields": [
            {
                "path": leaf.path, "types": leaf.kinds, "present": len(leaf.values), "different": leaf.n_distinct,
                "personal": leaf.personal, **({"example": _example(leaf, True)} if show_values else {}),
            }
            for leaf in proposal.leaves
        ],
        "messages": proposal.n_read,
        "rows": decoded.n_rows,
        "rejected": dict(decoded.reasons),
    }  # fmt: skip


def _yaml(model: str, proposal: Proposal) -> str:
    """Return the monitor file: what was guessed with its reason, what a person has to look at as comments."""
    assert proposal.source is not None, "there is something to write"
    lines = [f"# Proposed from {proposal.n_read} messages; look at every line.", *_notes(proposal)]
    lines += [_dumped({"model": model}), "sources:"]
    why = {guess.field: guess.why for guess in proposal.guesses}
    source = plain_source(proposal.source)
    fields = source.pop("fields", {})
    for place, (name, value) in enumerate(source.items()):
        lines.append(f"  {'- ' if place == 0 else '  '}{_dumped({name: value})}{_because(why.get(name))}")
    if fields:
        lines.append("    fields:")
        for name, value in fields.items():
            if isinstance(value, dict):
                lines.append(f"      {_flow(name)}:{_because(why.get(name))}")
                lines += [f"        {_dumped({key: one})}" for key, one in value.items()]
            else:
                lines.append(f"      {_dumped({name: value})}{_because(why.get(name))}")
    sensitive = _sensitive(proposal)
    if sensitive:
        lines += ["features:  # look personal: kept only as hashed levels or counts", *sensitive]
    return "\n".join(lines) + "\n"


def _notes(proposal: Proposal) -> list[str]:
    return [f"# ? {line}" for line in proposal.undecided]


def _dumped(value: dict[str, Any]) -> str:
    """Return one field as a line of YAML."""
    ((name, inner),) = value.items()
    return f"{_flow(name)}: {_flow(inner)}"


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=100_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _because(why: str | None) -> str:
    return f"  # {why}" if why else ""


def _sensitive(proposal: Proposal) -> list[str]:
    """Return lines that mark features which look personal."""
    assert proposal.source is not None, "there is something to write"
    features = proposal.source.fields.features
    if isinstance(features, dict):
        paths = {name: path for name, path in features.items() if isinstance(path, str)}
    else:
        inside = [leaf for leaf in proposal.leaves if features and leaf.path.startswith(f"{features}.")]
        paths = {leaf.path.removeprefix(f"{features}."): leaf.path for leaf in inside}
    personal = {leaf.path for leaf in proposal.leaves if leaf.personal}
    return [f"  {_dumped({name: {'sensitive': True}})}" for name, path in paths.items() if path in personal]
