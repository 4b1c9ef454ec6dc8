"""How the messages of a topic could be mapped: a source, with a reason for each guess."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from schemas.leaves import Leaf, leaves
from schemas.recognised import recognised
from schemas.records import Record
from schemas.sources import Fields, Format, Source, TimeFormat
from schemas.times import times_ms

MOST = 0.9
YEAR_MS = 365 * 86_400_000
TIMES = ("event_time", "time", "timestamp", "ts", "occurred_at", "created_at", "created", "datetime", "at", "date")
IDS = ("id", "request_id", "event_id", "inference_id", "prediction_id", "uuid", "correlation_id", "trace_id", "rid")
MODELS = ("model", "model_name", "model_id", "modelid", "inferenceservicename", "deployment", "endpoint")
VERSIONS = ("model_version", "version", "modelversion", "model_revision")
PREDICTIONS = (
    "prediction", "predictions", "predicted", "pred", "y_pred", "score", "probability", "probabilities", "proba",
    "predicted_class", "predicted_label", "output", "result", "decision",
)  # fmt: skip
LATENCIES = ("latency_ms", "duration_ms", "elapsed_ms", "took_ms", "response_time_ms")
ERRORS = ("error", "exception", "error_message", "failure")
FEATURES = ("features", "inputs", "input", "instance", "instances", "attributes", "payload", "data", "x", "row", "rows")


class Guess(NamedTuple):
    """One field of the mapping: where it is thought to stand, and why."""

    field: str
    place: str
    why: str


class Proposal(NamedTuple):
    """What was found.

    `source` is None where no rows could be made; `undecided` says what a person has to look at; `models` are the
    names at the model's path.
    """

    source: Source | None
    format: str
    guesses: list[Guess]
    undecided: list[str]
    leaves: list[Leaf]
    models: list[str]
    n_read: int


def propose(topic: str, records: Sequence[Record]) -> Proposal:
    """Propose how to map a topic from some of its messages."""
    records = [record for record in records if record.value is not None]
    form, documents, why = recognised(records)
    if not documents:
        return Proposal(None, form, [], [why], [], [], len(records))
    guesses = [Guess("format", form, why)]
    found = leaves(documents)
    if form == "open-inference":
        return _inference(topic, found, guesses, len(records))
    return _Guessing(topic, form, found, guesses, records).proposal()


def _inference(topic: str, found: dict[str, Leaf], guesses: list[Guess], n_read: int) -> Proposal:
    guesses.append(Guess("features", "rows[*]", "the inputs of each request, its response paired by id"))
    guesses.append(Guess("prediction", "predictions[*]", "the first output of the response"))
    model = next((found[name] for name in ("inferenceservicename", "modelid") if name in found), None)
    place = None
    if model is not None:
        place = model.path
        guesses.append(Guess("model", place, "the attribute that names the served model"))
    undecided = ["both messages of a pair have to be in one partition of the topic"]
    if any(type(value) is list for leaf in found.values() if "instances" in leaf.path for value in leaf.values):
        undecided.append("instances are lists without names: give feature_names")
    source = Source(topic=topic, format="open-inference", fields=Fields(model=place))
    names = sorted({str(value) for value in model.values}) if model is not None else []
    return Proposal(source, "open-inference", guesses, undecided, list(found.values()), names, n_read)


class _Guessing:
    """Roles for the leaves of plain documents, one after the other; what has a role is no feature."""

    def __init__(
        self, topic: str, form: Format, found: dict[str, Leaf], guesses: list[Guess], records: Sequence[Record]
    ) -> None:
        self._topic, self._form, self._guesses, self._records = topic, form, guesses, records
        starred = [leaf for leaf in found.values() if "[*]" in leaf.path and leaf.scalar]
        single = [leaf for leaf in found.values() if "[*]" not in leaf.path and leaf.scalar]
        prefixes: dict[str, int] = {}
        for leaf in starred:
            prefixes[leaf.path.partition("[*]")[0]] = prefixes.get(leaf.path.partition("[*]")[0], 0) + 1
        self._list = max(prefixes, key=lambda name: (prefixes[name], name), default=None)
        if self._list is not None and prefixes[self._list] < 2 <= len(single):
            self._list = None
        kept = [leaf for leaf in starred if self._list is not None and leaf.path.startswith(f"{self._list}[*]")]
        self._all = found
        self._leaves = {leaf.path: leaf for leaf in [*kept, *single]}
        self._left = dict(self._leaves)
        self._undecided: list[str] = []

    def proposal(self) -> Proposal:
        """Return the proposal."""
        if self._list is not None:
            self._guesses.append(Guess("rows", f"{self._list}[*]", "a list of objects: each item is a row"))
        time, form = self._time()
        identity = self._id()
        model = self._named("model", MODELS, lambda leaf: leaf.kinds == ["text"] and leaf.n_distinct <= 50)
        version = self._named("version", VERSIONS, lambda leaf: leaf.n_distinct <= 20)
        prediction = self._prediction()
        latency = self._named("latency_ms", LATENCIES, lambda leaf: leaf.kinds == ["number"])
        error = self._named("error", ERRORS, lambda leaf: set(leaf.kinds) <= {"text", "boolean"})
        features = self._features()
        models = sorted({str(value) for value in self._leaves[model].values}) if model else []
        everything = list(self._all.values())
        if features is None:
            self._undecided.append("no features were found: no object or names with numbers, texts or booleans")
            return Proposal(None, self._form, self._guesses, self._undecided, everything, models, len(self._records))
        fields = Fields(
            model=model, version=version, id=identity, time=time, features=features, prediction=prediction,
            latency_ms=latency, error=error,
        )  # fmt: skip
        source: Source | None
        try:
            source = Source(topic=self._topic, format=self._form, fields=fields, time_format=form)
        except ValueError as error:  # rows in a list, and their features elsewhere
            self._undecided.append(f"what was found does not go together: {error}")
            source = None
        return Proposal(source, self._form, self._guesses, self._undecided, everything, models, len(self._records))

    def _take(self, field: str, leaf: Leaf, why: str) -> str:
        self._left.pop(leaf.path, None)
        self._guesses.append(Guess(field, leaf.path, why))
        return leaf.path

    def _time(self) -> tuple[str | None, TimeFormat]:
        stamps = [record.timestamp for record in self._records if record.timestamp and record.timestamp > 0]
        now = sorted(stamps)[len(stamps) // 2] if stamps else None
        candidates = []
        for leaf in self._leaves.values():
            for form in _time_forms(leaf):
                read = [time for time in times_ms(leaf.values, form) if time is not None]
                if len(read) < MOST * len(leaf.values) or not leaf.values:
                    continue
                away = abs(sorted(read)[len(read) // 2] - now) if now is not None else 0
                rank = _rank(leaf.name, TIMES)
                if rank < len(TIMES) or (away < YEAR_MS and leaf.kinds == ["text"]):
                    candidates.append((rank, leaf.n_missing > 0, away, leaf.path, form, leaf))
        if not candidates:
            self._guesses.append(
                Guess("time", "record", "no field looks like an event time: the record's own is taken")
            )
            self._undecided.append("if a field holds the event time, name it at fields.time")
            return None, "record"
        candidates.sort(key=lambda one: (one[2] > 10 * YEAR_MS, *one[:4]))
        best = candidates[0]
        others = sorted({one[3] for one in candidates[1:]} - {best[3]})
        if others:
            self._undecided.append(f"also look like times: {', '.join(others[:5])}")
            for path in others:
                self._left.pop(path, None)
        form = best[4]
        distance = "" if now is None else f", {_in_words(best[2])} from the records' own time"
        return self._take("time", best[5], f"read as {form}{distance}"), form

    def _id(self) -> str | None:
        named = sorted(
            (leaf for leaf in self._left.values() if _rank(leaf.name, IDS) < len(IDS) and not leaf.n_missing),
            key=lambda leaf: (not leaf.distinct, _rank(leaf.name, IDS), leaf.path.count(".")),
        )
        if not named:
            self._undecided.append("no field looks like an id; feedback cannot be joined without one")
            return None
        best = named[0]
        why = "every value differs" if best.distinct else "by its name; its values repeat"
        if not best.distinct:
            self._undecided.append(f"{best.path} repeats: is it the id of one inference?")
        return self._take("id", best, why)

    def _named(self, field: str, names: Sequence[str], fits: Any) -> str | None:
        found = [leaf for leaf in self._left.values() if _rank(leaf.name, names) < len(names) and fits(leaf)]
        if not found:
            return None
        found.sort(key=lambda leaf: (_rank(leaf.name, names), leaf.path.count(".")))
        if len(found) > 1:
            self._undecided.append(f"{field}: {', '.join(leaf.path for leaf in found[1:4])} would do as well")
        return self._take(field, found[0], f"by its name; {found[0].n_distinct} different values")

    def _prediction(self) -> str | None:
        found = [leaf for leaf in self._left.values() if _rank(leaf.name, PREDICTIONS) < len(PREDICTIONS)]
        inside = [leaf for leaf in self._left.values() if _parent_rank(leaf.path, PREDICTIONS) < len(PREDICTIONS)]
        if not found and inside:
            parents = {leaf.path.rpartition(".")[0] for leaf in inside}
            parent = sorted(parents, key=lambda path: (_rank(_last(path), PREDICTIONS), path))[0]
            children = [leaf for leaf in inside if leaf.path.rpartition(".")[0] == parent]
            if len(children) == 1:
                return self._take("prediction", children[0], "the one value of the object of that name")
            if all(leaf.kinds == ["number"] for leaf in children):
                for leaf in children:
                    self._left.pop(leaf.path)
                self._guesses.append(Guess("prediction", parent, f"an object of {len(children)} numbers by class"))
                return parent
        if not found:
            self._undecided.append("no field looks like the prediction")
            return None
        found.sort(key=lambda leaf: (_rank(leaf.name, PREDICTIONS), leaf.path.count(".")))
        if len(found) > 1:
            self._undecided.append(f"prediction: {', '.join(leaf.path for leaf in found[1:4])} would do as well")
        return self._take("prediction", found[0], f"by its name; {', '.join(found[0].kinds)}")

    def _features(self) -> Any:
        groups: dict[str, list[Leaf]] = {}
        for leaf in self._left.values():
            groups.setdefault(
                leaf.path.rpartition(".")[0] or leaf.path.partition("[*]")[0] + "[*]" * ("[*]" in leaf.path), []
            ).append(leaf)
        named = sorted(
            (path for path in groups if path and _rank(_last(path), FEATURES) < len(FEATURES)),
            key=lambda path: (_rank(_last(path), FEATURES), -len(groups[path])),
        )
        for path in [*named, *([f"{self._list}[*]"] if self._list is not None else [])]:
            taken = [leaf for leaf in self._leaves.values() if leaf.path.startswith(f"{path}.")]
            nested = any("." in leaf.path.removeprefix(f"{path}.") for leaf in taken)
            if path in groups and not nested and len(taken) == len(groups[path]):
                self._guesses.append(Guess("features", path, f"an object of {len(taken)} values, taken whole"))
                return path
        inside = [leaf for leaf in self._left.values() if named and leaf.path.startswith(f"{named[0]}.")]
        data = [leaf for leaf in self._left.values() if self._form == "json" or leaf.path.startswith("data")]
        chosen = inside or data
        features = {}
        for leaf in chosen:
            if leaf.distinct and leaf.kinds == ["text"]:
                self._undecided.append(f"{leaf.path} is left out: a text that never repeats looks like an identifier")
                continue
            short = re.sub(r'[\[\]"*]+', "", leaf.path.rpartition(".")[2] or leaf.path)
            features[short if short not in features else leaf.path] = leaf.path
        if not features:
            return None
        self._guesses.append(Guess("features", f"{len(features)} paths", "each value without another role"))
        return features


def _time_forms(leaf: Leaf) -> Iterable[TimeFormat]:
    if leaf.kinds == ["text"]:
        return ("rfc3339", "utc", "s", "ms") if leaf.values else ()
    return ("s", "ms", "us") if leaf.kinds == ["number"] else ()


def _rank(name: str, names: Sequence[str]) -> int:
    return names.index(name) if name in names else len(names)


def _parent_rank(path: str, names: Sequence[str]) -> int:
    return _rank(_last(path.rpartition(".")[0]), names)


def _last(path: str) -> str:
    return Leaf(path.replace("[*]", "")).name


def _in_words(away_ms: int) -> str:
    for size, word in ((YEAR_MS, "years"), (86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes")):
        if away_ms >= 2 * size:
            return f"{away_ms // size} {word}"
    return f"{away_ms / 1000:.1f} s"
