"""An alert in at most twelve lines a person understands at three in the morning.

The words stand here once; a `Markup` says how a destination writes names, commands and links.
Whatever came from outside (names, levels, owners) passes through it, so that no name can break
a line, mention a channel or pose as ours.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from schemas.alerts import Alert, AlertFeature
from streams.panel.words import TESTS, feature_path, model_path, number, span, when

MAX_FEATURES = 5
MAX_DEPLOYMENTS = 2
MAX_NAME = 80
MAX_TEXT = 160
MAX_URL = 1_000
MAX_COMMAND = 500
_RANKS = {"major": 0, "moderate": 1, "minor": 2, "": 3}


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return foreign text on one line, without control, direction and other invisible characters, cut to a limit."""
    seen = []
    for character in text[: 4 * limit]:
        kind = unicodedata.category(character)
        if character.isspace() or kind == "Cc":
            seen.append(" ")
        elif kind[0] != "C":
            seen.append(character)
    line = " ".join("".join(seen).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


class Markup(NamedTuple):
    """How a destination writes foreign text (already on one line), a command and a link (url, label)."""

    quote: Callable[[str], str]
    code: Callable[[str], str]
    link: Callable[[str, str], str]


PLAIN = Markup(quote=str, code=str, link=lambda url, _: url)


def headline(alert: Alert, name: Callable[[str], str] = str) -> str:
    """Return the one line that says what happened, without markup unless `name` adds it."""
    model = name(clean(alert.model, MAX_NAME))
    n_features = len(alert.features)
    what = name(clean(alert.features[0].feature, MAX_NAME)) if n_features == 1 else f"{n_features} features"
    changed = f"{what} changed" + (f" ({alert.severity})" if alert.severity else "")
    if alert.state == "resolved":
        return f"Over: drift in {model}"
    if alert.state != "open":
        return f"{alert.state.capitalize()}: drift in {model}, {changed}"
    if alert.previous is None:
        return f"Drift in {model}: {changed}"
    if alert.why == "worse":
        return f"Worse: drift in {model}, now {changed}"
    return f"Open: drift in {model}, {changed}"


def describe(alert: Alert, *, panel_url: str = "", replay_command: str = "", markup: Markup = PLAIN) -> list[str]:
    """Describe one state of an alert.

    Parameters
    ----------
    alert
        The state to describe.
    panel_url
        Where the panel is, without a path; empty when people cannot reach it.
    replay_command
        The command that shows this again from the recorded traffic; empty leaves it out.
    markup
        How the destination writes names, commands and links.

    Returns
    -------
    One to twelve lines; the first says what happened.
    """
    lines = [headline(alert, markup.quote), _where_and_when(alert, markup)]
    if alert.state == "resolved":
        lines.append(f"Back to normal: {_names(alert.features, markup)}." if alert.features else "Back to normal.")
    else:
        lines += _features(alert, markup)
        budget = number(alert.expected_false_alarms_per_week)
        alarms = "alarm" if budget == "1" else "alarms"
        lines.append(f"How sure: without a real change this model raises about {budget} {alarms} a week.")
    lines += [line for line in (_people(alert, markup), _panel(alert, panel_url, markup)) if line]
    if replay_command:
        lines.append(f"See it again: {markup.code(clean(replay_command, MAX_COMMAND))}")
    lines.append(f"Alert {markup.quote(clean(alert.episode_id))}, message {alert.sequence}.")
    return lines


def by_severity(features: list[AlertFeature]) -> list[AlertFeature]:
    """Return the features, the worst first: by severity, then by how far the effect is over its line."""
    return sorted(features, key=lambda one: (_RANKS[one.severity], -one.effect / (one.line or 1.0), one.feature))


def _where_and_when(alert: Alert, markup: Markup) -> str:
    where = [f"version {markup.quote(clean(alert.version, MAX_NAME))}"] if alert.version else []
    where += [f"slice {markup.quote(clean(alert.slice, MAX_NAME))}"] if alert.slice else []
    for version, time in alert.deployments[-MAX_DEPLOYMENTS:]:
        where.append(f"version {markup.quote(clean(version, 40))} began at {when(time)} UTC")
    since = _since(alert)
    if alert.state == "resolved":
        times = f"changed from {when(since)} to {when(alert.time)} UTC ({span(alert.time - since)})"
    else:
        times = f"changed since {when(since)} UTC, alarm at {when(alert.opened)} UTC"
        times += f", worse at {when(alert.time)} UTC" if alert.why == "worse" else ""
    by = f"{alert.state} by {markup.quote(clean(alert.by, MAX_NAME))}" if alert.by and alert.state != "open" else ""
    line = ", ".join([*where, times]) + (f"; {by}" if by else "") + "."
    return line[0].upper() + line[1:]


def _since(alert: Alert) -> int:
    return min([alert.opened, *(one.since for one in alert.features)])


def _features(alert: Alert, markup: Markup) -> list[str]:
    worst = by_severity(alert.features)
    n_shown = MAX_FEATURES if len(worst) <= MAX_FEATURES else MAX_FEATURES - 1
    lines = [_feature(one, _since(alert), markup) for one in worst[:n_shown]]
    if len(worst) > n_shown:
        lines.append(f"• and {len(worst) - n_shown} more: {_names(worst[n_shown:], markup)}")
    return lines


def _feature(one: AlertFeature, since: int, markup: Markup) -> str:
    name = markup.quote(clean(one.feature, MAX_NAME)) + (f" ({one.severity})" if one.severity else "")
    before, after = clean(one.before), clean(one.after)
    change = f"{markup.quote(before or 'unknown')} → {markup.quote(after or 'unknown')}. " if before or after else ""
    test = TESTS[one.reason][0] if one.reason in TESTS else "Effect"
    line = f"• {name}: {change}{test} {number(one.effect)}, alarm line {number(one.line)}"
    return line + (f", since {when(one.since)} UTC" if one.since != since else "")


def _names(features: list[AlertFeature], markup: Markup) -> str:
    names = [markup.quote(clean(one.feature, 40)) for one in features[:MAX_FEATURES]]
    n_more = len(features) - len(names)
    return ", ".join(names) + (f" and {n_more} more" if n_more else "")


def _people(alert: Alert, markup: Markup) -> str:
    parts = [f"Owner: {markup.quote(clean(alert.owner, MAX_NAME))}"] if alert.owner else []
    if alert.runbook_url:
        url = clean(alert.runbook_url, MAX_URL)
        followable = url.startswith(("https://", "http://")) and url == alert.runbook_url
        parts.append(f"Runbook: {markup.link(url, 'open') if followable else markup.quote(clean(url))}")
    return " · ".join(parts)


def _panel(alert: Alert, panel_url: str, markup: Markup) -> str:
    if not panel_url:
        return ""
    one = alert.features[0].feature if len(alert.features) == 1 else None
    path = model_path(alert.model) if one is None else feature_path(alert.model, one)
    url = panel_url.rstrip("/") + path
    url = url if len(url) <= MAX_URL else panel_url
    return f"Panel: {markup.link(url, 'distributions and history')}"
