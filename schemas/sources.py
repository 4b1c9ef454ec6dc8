"""Where a model's rows come from beside `drift.events.v1`: existing topics and how their messages are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas import topics
from schemas.paths import BadPathError, Path, compiled

Format = Literal["json", "cloudevents", "open-inference"]
TimeFormat = Literal["auto", "rfc3339", "utc", "s", "ms", "us", "record"]
TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class Constant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same value for every row."""

    const: str | int | float | bool


Place = Annotated[str, Meta(min_length=1, max_length=500)]
Value = Place | Constant
FeatureName = Annotated[str, Meta(min_length=1, max_length=200)]


class Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where each part of a row stands in a message: paths (`a.b`, `a[0]`, `a[*].b`), or constants.

    `features` is one path to an object, or to a list of values, or a path for each feature.
    """

    model: Value | None = None
    version: Value | None = None
    id: Place | None = None
    time: Place | None = None
    features: Place | dict[FeatureName, Value] | None = None
    prediction: Place | None = None
    latency_ms: Place | None = None
    error: Place | None = None
    slices: dict[FeatureName, Value] = {}


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One existing topic, or all whose names match a pattern, and the form of their messages.

    Attributes
    ----------
    topic, pattern
        A name, or a regular expression the whole name has to match: one of both.
    fields
        Where the parts of a row stand. `cloudevents` knows `id` and `time` by itself,
        `open-inference` everything but the model's name.
    time_format
        `auto`: RFC 3339 where it is a text, epoch milliseconds where it is a number. `utc`: ISO 8601 without
        an offset. `record`: the Kafka record's own timestamp.
    where
        Only messages that have these values at these paths are read.
    feature_names
        Names of the values where features are a list.
    models
        `own`: rows of this monitor's model only. `all`: rows of every model named at `fields.model` that has
        no source of its own for the topic.
    since
        Rows with earlier event times are left out; without it everything the topic still holds comes in.
    pair_timeout_s
        `open-inference`: seconds of record time a request waits for its response.
    """

    topic: str | None = None
    pattern: Annotated[str, Meta(max_length=300)] | None = None
    format: Format = "json"
    fields: Fields = Fields()
    time_format: TimeFormat = "auto"
    where: dict[Place, str | int | float | bool] = {}
    feature_names: list[FeatureName] = []
    models: Literal["own", "all"] = "own"
    since: Annotated[datetime, Meta(tz=True)] | None = None
    pair_timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0

    def __post_init__(self) -> None:
        """Refuse what could never give a row; a `SourceError` names the field."""
        for wrong in _wrong(self):
            raise wrong

    def reads(self, topic: str) -> bool:
        """Tell whether the rows of a topic come in here; never one of ours or of Kafka's own."""
        if self.topic is not None:
            return self.topic == topic
        return readable(topic) and re.fullmatch(self.pattern or "", topic) is not None

    @property
    def since_ms(self) -> int:
        """Epoch milliseconds of `since`; 0 without it."""
        return 0 if self.since is None else round(self.since.timestamp() * 1000)

    @property
    def complete(self) -> Fields:
        """The fields, with what the format knows by itself."""
        known = {name: path for name, path in KNOWN[self.format].items() if getattr(self.fields, name) is None}
        if self.time_format == "record":
            known.pop("time", None)
        return msgspec.structs.replace(self.fields, **known) if known else self.fields


class SourceError(ValueError):
    """A source that cannot be: the text begins with the field in backquotes."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"`{field}`: {why}")


KNOWN: dict[str, dict[str, str]] = {
    "json": {},
    "cloudevents": {"id": "id", "time": "time"},
    "open-inference": {
        "id": "id", "time": "time", "features": "rows[*]", "prediction": "predictions[*]", "version": "model_version",
        "error": "error",
    },
}  # fmt: skip
_OURS = frozenset(topic.name for topic in topics.ALL)


def readable(topic: str) -> bool:
    """Tell whether a topic may be mapped: it is neither one of ours nor internal to Kafka."""
    return topic not in _OURS and not topic.startswith((topics.SNAPSHOT_PREFIX, "__"))


def _wrong(source: Source) -> Iterator[SourceError]:
    yield from _wrong_topic(source)
    fields = source.complete
    if source.time_format == "record" and source.fields.time is not None:
        yield SourceError("fields.time", "time_format record takes the record's own timestamp; leave one of both out")
    if fields.time is None and source.time_format != "record":
        yield SourceError("fields.time", "it is missing; give a path, or time_format: record")
    if not fields.features:
        yield SourceError("fields.features", "it is missing; give a path to an object, or a path for each feature")
    if source.models == "all" and not isinstance(fields.model, str):
        yield SourceError("fields.model", "models: all needs the path of the model's name")
    starred = None
    for field, text in paths(fields):
        try:
            path = compiled(text)
        except BadPathError as error:
            yield SourceError(f"fields.{field}", str(error))
            return
        if field.startswith("features"):
            starred = starred or path.starred
        elif path.starred and not starred:
            yield SourceError(f"fields.{field}", "a path with [*] gives several values; then features need one as well")
    for text in source.where:
        try:
            if compiled(text).starred:
                yield SourceError("where", f"{text} has [*]; a message is taken or left as a whole")
        except BadPathError as error:
            yield SourceError("where", str(error))


def _wrong_topic(source: Source) -> Iterator[SourceError]:
    if (source.topic is None) == (source.pattern is None):
        yield SourceError("topic", "give `topic` (a name) or `pattern` (a regular expression), one of both")
    if source.topic is not None:
        if not TOPIC.fullmatch(source.topic):
            yield SourceError("topic", f"{source.topic[:80]!r} is no topic's name: letters, digits, dots, _ and -")
        elif not readable(source.topic):
            yield SourceError("topic", f"{source.topic} is one of driftgauge's or Kafka's own; name a topic of yours")
    if source.pattern is not None:
        try:
            re.compile(source.pattern)
        except re.error as error:
            yield SourceError("pattern", f"no regular expression: {error}")


def paths(fields: Fields) -> Iterator[tuple[str, str]]:
    """Yield the name and the path of every field that has one, the features first."""
    features = fields.features
    named = features.items() if isinstance(features, dict) else [("", features)]
    for name, place in named:
        if isinstance(place, str):
            yield f"features.{name}" if name else "features", place
    for field in ("model", "version", "id", "time", "prediction", "latency_ms", "error"):
        if isinstance(place := getattr(fields, field), str):
            yield field, place
    for name, value in fields.slices.items():
        if isinstance(value, str):
            yield f"slices.{name}", value


class Mapping(msgspec.Struct, frozen=True):
    """One source of a model's monitor while it is in force: for rows with event times in [start_ms, end_ms)."""

    model: str
    start_ms: int
    end_ms: int
    source: Source


def path_or_constant(value: Value | None) -> Path | Constant | None:
    """Compile a field's value."""
    return compiled(value) if isinstance(value, str) else value
