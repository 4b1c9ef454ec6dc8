"""A monitor's file is taken whole or refused with line, field and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import monitors
from schemas.monitors import FeatureMonitor, FixedLimit, Monitor
from streams.commands.monitors import read_monitor
from streams.settings import SettingsError

GOOD = """\
model: credit-risk
owner: team-credit
timezone: Europe/Paris
window: 15m
scales: [1, 5]
budget: 0.5
versions: none
features:
  income:
    type: numeric
  city:
    sensitive: true
    statistics:
      - {name: psi, threshold: 0.2}
routes: [slack-credit]
"""


def read(tmp_path: Path, text: str | bytes) -> Monitor:
    path = tmp_path / "monitor.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return read_monitor(path)


def refusal(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    return str(caught.value)


def test_every_field_but_the_model_has_a_default(tmp_path: Path) -> None:
    assert read(tmp_path, "model: m") == Monitor("m")
    assert Monitor("m").scales == [1, 5, 25]


def test_a_file_becomes_the_monitor_it_describes(tmp_path: Path) -> None:
    city = FeatureMonitor(sensitive=True, statistics=[FixedLimit("psi", 0.2)])
    monitor = read(tmp_path, GOOD)
    assert monitor.features == {"income": FeatureMonitor("numeric"), "city": city}
    assert (monitor.window, monitor.scales, monitor.budget, monitor.routes) == ("15m", [1, 5], 0.5, ["slack-credit"])
    assert monitors.decode(monitors.encode(monitor)) == monitor


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("window: 15m", "window: 2h", 4, ["$.window", "Allowed: auto, 1m, 5m, 15m, 1h, 6h, 1d, 7d"]),
        ("versions: none", "versions: forget", 7, ["$.versions", "Allowed: inherit, learn, none"]),
        ("budget: 0.5", "sensitivity: low", 6, ["$.sensitivity", "Allowed: default, high, strict"]),
        ("budget: 0.5", "budget: 0", 6, ["$.budget", "> 0"]),
        ("budget: 0.5", "budget: .nan", 6, ["$.budget", "> 0"]),
        ("budget: 0.5", "budget: .inf", 6, ["$.budget", "<= 1000"]),
        ("budget: 0.5", "budget: plenty", 6, ["$.budget", "float"]),
        ("budget: 0.5", "bugdet: 0.5", 6, ["bugdet", "Fields: model, owner", "budget"]),
        ("scales: [1, 5]", "scales: [1, 500]", 5, ["$.scales", "<= 125"]),
        ("scales: [1, 5]", "scales: []", 5, ["$.scales", "length >= 1"]),
        ("timezone: Europe/Paris", "timezone: Mars/Base", 3, ["$.timezone", "Mars/Base", "Europe/Paris"]),
        ("timezone: Europe/Paris", "timezone: ../../etc/passwd", 3, ["$.timezone"]),
        ("type: numeric", "type: number", 10, ["$.features.income.type", "Allowed: auto, numeric, categorical"]),
        ("sensitive: true", "sensitive: maybe", 12, ["$.features.city.sensitive", "bool"]),
        ("sensitive: true", "secret: true", 12, ["secret", "$.features.city", "Fields: type, sensitive, ignore"]),
        ("threshold: 0.2", "threshold: -1", 14, ["$.features.city.statistics", "threshold", "> 0"]),
        ("threshold: 0.2", "limit: 0.2", 14, ["limit", "Fields: name, threshold"]),
        ("model: credit-risk", "model: ''", 1, ["$.model", "length >= 1"]),
        ("routes: [slack-credit]", "routes: slack", 15, ["$.routes", "array"]),
    ],
)
def test_a_mistake_is_told_with_its_line_field_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, line: int, told: list[str]
) -> None:
    assert GOOD.count(old) == 1
    message = refusal(tmp_path, GOOD.replace(old, new))
    assert f"monitor.yaml:{line}: " in message
    for part in told:
        assert part in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "object"),
        ("- model", "object"),
        ("owner: x", "`model`"),
        ("model: m\nmonitor_version: 3", "monitor_version"),
        ("model: [m", "line 1"),
        ("model: m\n\tbudget: 1", "line 2"),
        ("model: m\nowner: 2026-13-45", "month"),
        ("model: !!python/object:os.system x", "could not determine a constructor"),
        ("? [a, b]\n: c", "unhashable"),
        (b"model: \xff\xfe", "utf-8"),
        ("[" * 5_000, "nested"),
        ("1: 2", ""),
        ("features: {1: {}}\nmodel: m", ""),
        ("model: m\nfeatures: [a]", "$.features"),
    ],
)
def test_what_is_no_monitor_is_refused_and_nothing_else_happens(tmp_path: Path, text: str | bytes, told: str) -> None:
    message = refusal(tmp_path, text)
    assert message.startswith(str(tmp_path / "monitor.yaml"))
    assert told in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.yaml: No such file"):
        read_monitor(tmp_path / "absent.yaml")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from([*Monitor.__struct_fields__, "unknown"])
FEATURES = st.dictionaries(st.text(max_size=3), st.dictionaries(st.sampled_from(["type", "statistics", "x"]), PLAIN))


def outcome(tmp_path: Path, text: str | bytes) -> Monitor | str:
    """The monitor, or why it was refused."""
    try:
        return read(tmp_path, text)
    except SettingsError as error:
        return str(error)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(FIELDS, PLAIN | FEATURES, max_size=4))
def test_any_yaml_is_a_monitor_or_a_refusal(tmp_path: Path, fields: dict[str, Any]) -> None:
    found = outcome(tmp_path, yaml.safe_dump({"model": "m", **fields}, allow_unicode=True))
    if isinstance(found, Monitor):
        assert monitors.decode(monitors.encode(found)) == found
    else:
        assert "monitor.yaml" in found


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 5), st.binary(max_size=3))
def test_any_damage_to_a_file_is_a_monitor_or_a_refusal(tmp_path: Path, at: int, n_bytes: int, put: bytes) -> None:
    text = GOOD.encode()
    found = outcome(tmp_path, text[:at] + put + text[at + n_bytes :])
    assert isinstance(found, Monitor) or "monitor.yaml" in found


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_decoding_raise_anything_else(data: bytes) -> None:
    for value in (data, b'{"model": "m", ' + data):
        try:
            monitors.decode(value)
        except msgspec.DecodeError:
            continue


def test_a_record_of_a_newer_release_is_read_without_the_fields_it_added() -> None:
    newer = b"""{"model": "m", "owner": "me", "slices": ["country"], "features":
        {"age": {"ignore": true, "range": [18, 110], "statistics": [{"name": "psi", "threshold": 0.2, "since": 3}]}}}"""
    age = FeatureMonitor(ignore=True, statistics=[FixedLimit("psi", 0.2)])
    assert monitors.decode(newer) == Monitor("m", owner="me", features={"age": age})


@pytest.mark.parametrize(
    "value",
    [
        b'{"model": "m", "window": "30s"}',
        b'{"model": "m", "features": [1]}',
        b'{"model": "m", "features": {"a": 1}}',
        b'{"model": "m", "features": {"a": {"statistics": {"psi": 1}}}}',
        b"[" * 100_000,
        b"\xff",
        b"{}",
    ],
)
def test_a_record_that_is_no_monitor_is_one_kind_of_error(value: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        monitors.decode(value)
