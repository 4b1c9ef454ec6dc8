"""Slack: the real client against a server that speaks the webhook protocol."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator

import pytest

from schemas.alerts import Alert
from streams.sinks.errors import SinkUnavailable
from streams.sinks.slack import DeliveryRejected, SlackWebhook, message
from tests.sinks.alerts import CITY, ONE, alert, hostile, many, resolved, worse
from tests.sinks.slack_server import PATH, Slack, slack_server

SECRET = PATH.rsplit("/", 1)[-1]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    async with slack_server() as server:
        yield server


def test_the_message_of_one_feature_word_for_word() -> None:
    body = message(ONE, panel_url="https://drift.example", replay_command="driftgauge replay")
    assert body["blocks"] == [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": "Drift in credit-risk: income changed (moderate)", "emoji": False},
        },
        {
            "type": "section",
            "text": {
                "type": "mrkdwn",
                "text": "Version `7`, changed since 2026-03-01 12:00 UTC, alarm at 2026-03-01 13:00 UTC.\n"
                "• `income` (moderate): `mean 32,000, 10-90 % 14,000-61,000` → `mean 41,500, 10-90 % 19,000-70,000`. "
                "PSI 0.208, alarm line 0.041\n"
                "How sure: without a real change this model raises about 1 alarm a week.\n"
                "Owner: `team-credit` · Runbook: <https://runbooks.example/credit|open>\n"
                "Panel: <https://drift.example/models/credit-risk/features/income|distributions and history>\n"
                "See it again: `driftgauge replay`\n"
                "Alert `credit-risk/2026-03-01T12:00Z/1`, message 1.",
            },
        },
    ]
    assert body["text"] == "Drift in `credit-risk`: `income` changed (moderate)\n" + body["blocks"][1]["text"]["text"]


@pytest.mark.parametrize("one", [ONE, alert(features=[CITY]), many(60), worse(), resolved(), hostile(), hostile(50)])
def test_every_message_keeps_slacks_limits(one: Alert) -> None:
    body = message(one, panel_url="https://drift.example/" + "x" * 300, replay_command="&" * 5_000)
    assert len(body["blocks"]) <= 13
    assert len(body["text"]) <= 4_000
    for block in body["blocks"]:
        assert 0 < len(block["text"]["text"]) <= (150 if block["type"] == "header" else 3_000)


@pytest.mark.parametrize("n", [1, 50])
def test_hostile_names_stay_text(n: int) -> None:
    body = json.dumps(message(hostile(n), panel_url="https://drift.example"), ensure_ascii=False)
    assert "<!channel" not in body
    assert "<https://evil" not in body
    assert "<javascript" not in body
    assert "</script" not in body
    for block in message(hostile(n))["blocks"][1:]:
        for line in block["text"]["text"].split("\n"):
            outside = "".join(line.split("`")[::2])
            assert "*" not in outside
            assert line.count("`") % 2 == 0


async def test_an_alert_arrives_once_as_rendered(slack: Slack) -> None:
    webhook = SlackWebhook(slack.url, panel_url="https://drift.example", replay_command=lambda one: f"see {one.model}")
    await webhook.send(ONE)
    assert slack.bodies == [message(ONE, panel_url="https://drift.example", replay_command="see credit-risk")]


async def test_retry_after_is_obeyed(slack: Slack) -> None:
    slack.planned.append((429, "rate_limited", {"Retry-After": "1"}))
    told: list[tuple[str, float]] = []
    await SlackWebhook(slack.url, on_retry=lambda reason, wait_s: told.append((reason, wait_s))).send(ONE)
    assert told == [("429 rate_limited", 1.0)]
    assert slack.times[1] - slack.times[0] >= 1.0
    assert len(slack.bodies) == 1


async def test_failures_that_pass_are_retried_and_told(slack: Slack) -> None:
    slack.planned += [(500, "rollup_error", {}), "cut", "slow", (503, "", {}), (429, "", {"Retry-After": "soon"})]
    told: list[tuple[str, float]] = []
    webhook = SlackWebhook(
        slack.url, timeout_s=2.0, max_wait_s=0.01, on_retry=lambda reason, wait_s: told.append((reason, wait_s))
    )
    await webhook.send(ONE)
    assert [reason for reason, _ in told] == [
        "500 rollup_error",
        "connection failed: ServerDisconnectedError",
        "no answer within 2 s",
        "503",
        "429",
    ]
    assert all(0 <= wait_s <= 0.01 for _, wait_s in told[:4])
    assert told[4][1] == 1.0
    assert len(slack.bodies) == 1


async def test_a_limit_on_retrying_is_kept_and_says_what_failed(slack: Slack) -> None:
    slack.planned += [(500, "", {})] * 1_000
    webhook = SlackWebhook(slack.url, max_wait_s=0.01, give_up_s=0.2)
    started = time.monotonic()
    with pytest.raises(SinkUnavailable, match="the last said: 500"):
        await webhook.send(ONE)
    assert 0.2 <= time.monotonic() - started < 5
    assert slack.bodies == []


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, "invalid_payload"),
        (403, "invalid_token"),
        (404, "no_service"),
        (410, "channel_is_archived"),
    ],
)
async def test_permanent_answers_raise_with_slacks_word_and_are_not_repeated(
    slack: Slack, status: int, word: str
) -> None:
    slack.planned.append((status, word, {}))
    with pytest.raises(DeliveryRejected, match=f"{status} {word}"):
        await SlackWebhook(slack.url).send(ONE)
    assert len(slack.times) == 1


async def test_a_web_page_is_no_delivery(slack: Slack) -> None:
    slack.planned.append((200, "<html>please log in</html>", {}))
    with pytest.raises(DeliveryRejected, match="web page"):
        await SlackWebhook(slack.url).send(ONE)


async def test_the_url_is_in_no_error_log_or_repr(slack: Slack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    slack.planned += [(500, f"at {slack.url}", {}), "cut", (404, f"nothing at {slack.url} or {PATH} or {SECRET}", {})]
    told: list[str] = []
    webhook = SlackWebhook(slack.url, max_wait_s=0.01, on_retry=lambda reason, _: told.append(reason))
    with pytest.raises(DeliveryRejected) as raised:
        await webhook.send(ONE)
    shown = [repr(webhook), str(webhook), repr(raised.value), *told]
    shown += [record.getMessage() for record in caplog.records if not record.name.startswith("aiohttp.access")]
    assert not any(SECRET in text for text in shown)
    assert len(told) == 2


@pytest.mark.parametrize("url", ["", "hooks.slack.com/services/SECRETSECRET", "ftp://host/SECRETSECRET", "https://"])
def test_a_url_that_cannot_be_one_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="begin with https://") as raised:
        SlackWebhook(url)
    assert "SECRET" not in str(raised.value)


async def test_cancelling_a_send_that_waits_ends_it(slack: Slack) -> None:
    slack.planned.append((429, "", {"Retry-After": "600"}))
    waiting = asyncio.Event()
    sending = asyncio.create_task(SlackWebhook(slack.url, on_retry=lambda *_: waiting.set()).send(ONE))
    await asyncio.wait_for(waiting.wait(), 5)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
