"""Slack, over an incoming webhook: one message per state of an alert.

A webhook has no idempotence: a send whose answer was lost is repeated, so a message may come twice
around a failure, both times with the same alert id and number.

Source: Slack's documentation of incoming webhooks, Block Kit limits and rate limits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from slack_sdk.webhook.async_client import AsyncWebhookClient

from schemas.alerts import Alert
from streams.sinks.errors import SinkRejected
from streams.sinks.retries import OnRetry, TryAgain, retry_after_s, until_taken
from streams.sinks.wording import Markup, clean, describe, headline

MAX_HEADER = 150
MAX_SECTION = 2_900
MAX_FALLBACK = 3_500
MAX_LINK = 2_000


class DeliveryRejected(SinkRejected):
    """Slack refuses this message or this webhook and always will; the reason is Slack's word for it."""


def escape(text: str) -> str:
    """Escape what Slack reads as mentions, links and entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _quote(text: str) -> str:
    unquoted = escape(text.replace("`", "'"))
    return f"`{unquoted}`"  # inside backticks Slack reads no other marks


def _link(url: str, label: str) -> str:
    safe = quote(url, safe=":/?#[]@!$&'()*+,;=%~-._")
    link = f"<{escape(safe)}|{escape(label)}>"
    return link if len(link) <= MAX_LINK else _quote(clean(url))


MRKDWN = Markup(quote=_quote, code=_quote, link=_link)


def message(alert: Alert, *, panel_url: str = "", replay_command: str = "") -> dict[str, Any]:
    """Return the body of the message, within Slack's limits whatever the names in the alert."""
    lines = describe(alert, panel_url=panel_url, replay_command=replay_command, markup=MRKDWN)
    title = {"type": "plain_text", "text": _title(headline(alert)), "emoji": False}
    texts = [{"type": "mrkdwn", "text": text} for text in _packed(lines[1:], MAX_SECTION)]
    sections = [{"type": "section", "text": text} for text in texts]
    return {"text": _packed(lines, MAX_FALLBACK)[0], "blocks": [{"type": "header", "text": title}, *sections]}


def _title(text: str) -> str:
    limit = MAX_HEADER
    while len(title := escape(clean(text, limit))) > MAX_HEADER:
        limit -= 1
    return title


def _packed(lines: list[str], limit: int) -> list[str]:
    """Join lines to as few texts as the limit allows; a single line is always shorter than it."""
    texts = [lines[0]]
    for line in lines[1:]:
        if len(texts[-1]) + 1 + len(line) <= limit:
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    return texts


class SlackWebhook:
    """Sends alerts to one webhook.

    Parameters
    ----------
    url
        The webhook. It is a secret and appears in no log, error or repr.
    panel_url
        Where people reach the panel; empty leaves the link out.
    replay_command
        Returns the command that shows an alert again; None leaves it out.
    on_retry
        Called before each wait with the reason and the seconds until the next try.
    timeout_s
        How long one request may take.
    max_wait_s
        The longest wait between tries that Slack did not ask for.
    give_up_s
        After how long `send` gives up; None means never.
    """

    def __init__(
        self,
        url: str,
        *,
        panel_url: str = "",
        replay_command: Callable[[Alert], str] | None = None,
        on_retry: OnRetry | None = None,
        timeout_s: float = 10.0,
        max_wait_s: float = 60.0,
        give_up_s: float | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.netloc:
            raise ValueError("the Slack webhook URL has to begin with https:// (not shown here: it is a secret)")
        path = url[url.index(parts.netloc) + len(parts.netloc) :]
        self._secrets = [secret for secret in (url, path, path.rsplit("/", 1)[-1]) if len(secret) >= 8]
        self._panel_url = panel_url
        self._replay_command = replay_command
        self._timeout_s = timeout_s
        self._send_until_taken = partial(
            until_taken,
            destination="Slack",
            first_wait_s=0.5,
            max_wait_s=max_wait_s,
            give_up_s=give_up_s,
            on_retry=on_retry,
        )
        self._client = AsyncWebhookClient(
            url,
            timeout=timeout_s,  # type: ignore[arg-type]  # aiohttp takes fractions of a second
            retry_handlers=[],
            logger=logging.Logger("slack_sdk.silent", logging.CRITICAL + 1),  # its own logs the URL
        )

    def __repr__(self) -> str:
        return "SlackWebhook(url=***)"

    async def send(self, alert: Alert) -> None:
        """Send one state of an alert; returns when Slack has taken it.

        Raises
        ------
        DeliveryRejected
            Slack refuses for good, as for a revoked webhook or an archived channel.
        SinkUnavailable
            Slack did not take it within `give_up_s`.
        """
        command = self._replay_command(alert) if self._replay_command else ""
        body = message(alert, panel_url=self._panel_url, replay_command=command)
        await self._send_until_taken(partial(self._send_once, body))

    async def _send_once(self, body: dict[str, Any]) -> None:
        try:
            answer = await self._client.send_dict(body)
        except TimeoutError:
            raise TryAgain(f"no answer within {self._timeout_s:g} s") from None
        except (aiohttp.InvalidURL, aiohttp.TooManyRedirects) as error:
            raise DeliveryRejected(f"Slack webhook: {type(error).__name__}; check its URL") from None
        except (aiohttp.ClientError, OSError) as error:
            raise TryAgain(f"connection failed: {type(error).__name__}") from None
        if 200 <= answer.status_code < 300:
            if answer.body.lstrip().startswith("<"):
                raise DeliveryRejected("Slack webhook answered with a web page; check its URL and any proxy before it")
            return
        reason = f"{answer.status_code} {self._redacted(answer.body)}".strip()
        if answer.status_code == 429:
            raise TryAgain(reason, retry_after_s(answer.headers.get("Retry-After"), 1.0))
        if answer.status_code >= 500 or answer.status_code == 408:
            raise TryAgain(reason)
        raise DeliveryRejected(f"Slack webhook answered {reason}; check the webhook, its channel and its app")

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return clean(text, 100)
