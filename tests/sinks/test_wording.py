"""What people read at three in the morning, word for word."""

from __future__ import annotations

import pytest

from schemas.alerts import Alert
from streams.sinks.wording import by_severity, clean, describe
from tests.sinks.alerts import CITY, HOUR_MS, INCOME, ONE, OPENED_MS, alert, feature, hostile, many, resolved, worse

PANEL = "https://drift.example/"
REPLAY = "driftgauge replay --model credit-risk"
TAIL = f"""\
See it again: {REPLAY}
Alert credit-risk/2026-03-01T12:00Z/1, message"""


def text(one: Alert) -> str:
    return "\n".join(describe(one, panel_url=PANEL, replay_command=REPLAY))


def test_one_feature() -> None:
    assert (
        text(ONE)
        == f"""\
Drift in credit-risk: income changed (moderate)
Version 7, changed since 2026-03-01 12:00 UTC, alarm at 2026-03-01 13:00 UTC.
• income (moderate): mean 32,000, 10-90 % 14,000-61,000 → mean 41,500, 10-90 % 19,000-70,000. PSI 0.208, \
alarm line 0.041
How sure: without a real change this model raises about 1 alarm a week.
Owner: team-credit · Runbook: https://runbooks.example/credit
Panel: https://drift.example/models/credit-risk/features/income
{TAIL} 1."""
    )


def test_new_versions_are_named_with_the_time_they_began() -> None:
    lines = text(alert(deployments=[("5", 0), ("6", OPENED_MS - 2 * HOUR_MS), ("7", OPENED_MS - HOUR_MS)])).split("\n")
    assert lines[1] == (
        "Version 7, version 6 began at 2026-03-01 11:00 UTC, version 7 began at 2026-03-01 12:00 UTC, "
        "changed since 2026-03-01 12:00 UTC, alarm at 2026-03-01 13:00 UTC."
    )


def test_a_category() -> None:
    assert "• city (major): Lyon 10 %, Paris 52 % → Lyon 31 %, Paris 40 %. Growth 0.31, alarm line 0.05\n" in text(
        alert(features=[CITY], severity="major")
    )


def test_many_features_name_the_worst_and_count_the_rest() -> None:
    lines = text(many(7)).split("\n")
    assert lines[0] == "Drift in credit-risk: 7 features changed (major)"
    assert lines[1].startswith("Version 7, slice country=FR, changed since")
    assert [line.split(":")[0] for line in lines[2:7]] == [
        "• f05 (major)",
        "• f02 (major)",
        "• f04 (moderate)",
        "• f01 (moderate)",
        "• and 3 more",
    ]
    assert lines[6] == "• and 3 more: f06, f03, f00"
    assert "Panel: https://drift.example/models/credit-risk" in lines


def test_five_features_are_all_shown() -> None:
    assert sum(line.startswith("• f") for line in describe(many(5))) == 5


def test_worse() -> None:
    lines = text(worse()).split("\n")
    assert lines[0] == "Worse: drift in credit-risk, now 2 features changed (major)"
    assert lines[1].endswith("alarm at 2026-03-01 13:00 UTC, worse at 2026-03-01 14:00 UTC.")
    assert lines[2].startswith("• city (major): ")
    assert lines[2].endswith("alarm line 0.05, since 2026-03-01 13:00 UTC")


def test_resolved() -> None:
    assert (
        text(resolved())
        == f"""\
Over: drift in credit-risk
Version 7, changed from 2026-03-01 12:00 to 2026-03-01 15:00 UTC (3 h).
Back to normal: city, income.
Owner: team-credit · Runbook: https://runbooks.example/credit
Panel: https://drift.example/models/credit-risk
{TAIL} 4."""
    )


def test_acknowledged_says_by_whom() -> None:
    lines = describe(alert(state="acknowledged", previous="open", why="by hand", by="anna", time=OPENED_MS + HOUR_MS))
    assert lines[0] == "Acknowledged: drift in credit-risk, income changed (moderate)"
    assert lines[1].endswith("; acknowledged by anna.")


def test_what_is_not_known_is_left_out() -> None:
    bare = alert(
        owner=None, runbook_url=None, version="", features=[feature(before="", after="", severity="", reason="")]
    )
    assert describe(bare) == [
        "Drift in credit-risk: income changed (moderate)",
        "Changed since 2026-03-01 12:00 UTC, alarm at 2026-03-01 13:00 UTC.",
        "• income: Effect 0.208, alarm line 0.041",
        "How sure: without a real change this model raises about 1 alarm a week.",
        "Alert credit-risk/2026-03-01T12:00Z/1, message 1.",
    ]


@pytest.mark.parametrize("one", [ONE, many(1), many(5), many(6), many(60), worse(), resolved(), hostile(), hostile(50)])
def test_never_more_than_twelve_lines_and_none_is_broken_by_a_name(one: Alert) -> None:
    lines = describe(one, panel_url=PANEL, replay_command=REPLAY + "\nrm -rf /")
    assert len(lines) <= 12
    for line in lines:
        assert line.isprintable()
        assert len(line) < 2_000


def test_only_web_addresses_become_links() -> None:
    assert "Runbook: javascript:alert(1)" in describe(alert(runbook_url="javascript:alert(1)"))[4]


def test_the_worst_feature_is_first() -> None:
    strong, weak = feature(feature="strong", effect=0.9), feature(feature="weak", effect=0.1, severity="minor")
    assert by_severity([weak, INCOME, strong, CITY]) == [CITY, strong, INCOME, weak]


def test_clean_keeps_words_and_cuts() -> None:
    assert clean("  a\tb\u200b\u202ec\x07d\ud800 ") == "a bc d"
    assert clean("x" * 200, 10) == "x" * 9 + "…"
    assert clean("Größe 東京") == "Größe 東京"
