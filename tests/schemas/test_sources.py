"""A monitor's sources are taken whole or refused with line, field and what is allowed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from schemas import monitors
from schemas.sources import Constant, Fields, Source, readable
from streams.commands.monitors import read_monitor
from streams.settings import SettingsError

GOOD = """\
model: m
sources:
  - topic: scores
    format: json
    fields:
      time: created_at
      features:
        age: input.age
        city: input.city
      prediction: score
    where: {type: score}
"""


def read(tmp_path: Path, text: str) -> monitors.Monitor:
    path = tmp_path / "monitor.yaml"
    path.write_text(text)
    return read_monitor(path)


def test_a_source_is_what_the_file_describes(tmp_path: Path) -> None:
    monitor = read(tmp_path, GOOD)
    fields = Fields(time="created_at", features={"age": "input.age", "city": "input.city"}, prediction="score")
    assert monitor.sources == [Source(topic="scores", fields=fields, where={"type": "score"})]
    assert monitors.decode(monitors.encode(monitor)) == monitor


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("format: json", "format: xml", 4, ["$.sources[0].format", "Allowed: json, cloudevents, open-inference"]),
        ("time: created_at", "tiem: x", 6, ["tiem", "$.sources[0].fields", "Fields: model, version, id, time"]),
        ("time: created_at", "id: x", 5, ["`fields.time`", "time_format: record"]),
        ("age: input.age", "age: 3", 8, ["$.sources[0].fields.features.age"]),
        ("age: input.age", "age: {const: {}}", 8, ["features.age.const"]),
        ("age: input.age", "age: a..b", 8, ["`fields.features.age`", "a..b", "write a.b"]),
        ("topic: scores", "topic: drift.events.v1", 3, ["`topic`", "drift.events.v1"]),
        ("topic: scores", "topic: 'a b'", 3, ["`topic`", "letters"]),
        ("topic: scores", "topics: scores", 3, ["topics", "Fields: topic, pattern, format"]),
        ("topic: scores", "pattern: '('", 3, ["`pattern`", "regular expression"]),
        ("topic: scores", "topic: a\n    pattern: b", 3, ["`topic`", "one of both"]),
        ("where: {type: score}", "where: {type: [1]}", 11, ["where.type"]),
        ("where: {type: score}", "where: {'a[*]': 1}", 11, ["`where`", "[*]"]),
        ("where: {type: score}", "time_format: hours", 11, ["Allowed: auto, rfc3339, utc, s, ms, us, record"]),
        ("where: {type: score}", "time_format: record", 6, ["`fields.time`", "leave one"]),
        ("where: {type: score}", "models: all", 5, ["`fields.model`", "path"]),
        ("where: {type: score}", "pair_timeout_s: 0", 11, ["pair_timeout_s", "> 0"]),
        ("where: {type: score}", "since: yesterday", 11, ["$.sources[0].since", "RFC3339"]),
        ("prediction: score", "prediction: 'a[*]'", 10, ["`fields.prediction`", "features"]),
        ("prediction: score", "model: {const: other}", 10, ["sources[0].fields.model", "'m'"]),
    ],
)
def test_a_mistake_is_told_with_its_line_field_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, line: int, told: list[str]
) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    message = str(caught.value)
    assert f"monitor.yaml:{line}: " in message, message
    for part in told:
        assert part in message, message


def test_calls_that_wait_as_they_came_are_not_read_with_sensitive_features(tmp_path: Path) -> None:
    text = "model: m\nfeatures: {age: {sensitive: true}}\nsources:\n  - topic: calls\n    format: open-inference\n"
    with pytest.raises(SettingsError, match=r"monitor.yaml:5: .*sensitive"):
        read(tmp_path, text)


def test_a_pattern_matches_whole_names_and_never_topics_of_ours() -> None:
    source = Source(pattern=".*scores.*|.*drift.*|__.*", fields=Fields(time="t", features="f"))
    wanted = [source.reads(name) for name in ("a.scores", "scor", "drift.evidence.v1", "drift.snapshots.x.v1", "__x")]
    assert wanted == [True, False, False, False, False]
    assert readable("my-drift.evidence.v1")


def test_formats_know_their_own_fields() -> None:
    assert Source(topic="t", format="open-inference").complete.features == "rows[*]"
    event = Source(topic="t", format="cloudevents", fields=Fields(features="data", time="data.at"))
    assert (event.complete.id, event.complete.time) == ("id", "data.at")
    with pytest.raises(ValueError, match=r"`fields.features`"):
        Source(topic="t", format="cloudevents")


def test_a_record_of_a_newer_release_is_read_without_the_fields_it_added() -> None:
    newer = b"""{"model": "m", "sources": [{"topic": "t", "codec": "x",
        "fields": {"time": "t", "features": {"a": {"const": 1}}, "entity": "e"}}]}"""
    fields = Fields(time="t", features={"a": Constant(1)})
    assert monitors.decode(newer).sources == [Source(topic="t", fields=fields)]
    with pytest.raises(msgspec.DecodeError):
        monitors.decode(b'{"model": "m", "sources": [{"topic": "t"}]}')
