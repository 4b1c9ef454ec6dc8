"""Slack, over an incoming webhook: one message per state of an alert.

A webhook has no idempotence: a send whose answer was lost is repeated, so a message may come twice
around a failure, both times with the same alert id and number.

Source: Slack's documentation of incoming webhooks, Block Kit limits and rate limits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import aiohttp
from slack_sdk.webhook.async_client import AsyncWebhookClient
from slack_sdk.webhook.webhook_response import WebhookResponse
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, stop_never
from tenacity.wait import wait_random_exponential

from schemas.alerts import Alert
from streams.sinks.errors import SinkRejected, SinkUnavailable
from streams.sinks.wording import Markup, clean, describe, headline

MAX_HEADER = 150
MAX_SECTION = 2_900
MAX_FALLBACK = 3_500
MAX_LINK = 2_000
MAX_RETRY_AFTER_S = 3_600.0


class DeliveryRejected(SinkRejected):
    """Slack refuses this message or this webhook and always will; the reason is Slack's word for it."""


class _TryAgain(Exception):
    """A send failed in a way that may pass: (reason, seconds Slack asked to wait or None)."""


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
        on_retry: Callable[[str, float], None] | None = None,
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
        self._on_retry = on_retry
        self._wait = wait_random_exponential(multiplier=0.5, max=max_wait_s)
        self._stop = stop_never if give_up_s is None else stop_after_delay(give_up_s)
        self._timeout_s = timeout_s
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
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_TryAgain),
            wait=self._seconds_to_wait,
            stop=self._stop,
            before_sleep=self._tell,
            retry_error_callback=_give_up,
        )
        await retrying(self._send_once, body)

    async def _send_once(self, body: dict[str, Any]) -> None:
        try:
            answer = await self._client.send_dict(body)
        except TimeoutError:
            raise _TryAgain(f"no answer within {self._timeout_s:g} s", None) from None
        except (aiohttp.InvalidURL, aiohttp.TooManyRedirects) as error:
            raise DeliveryRejected(f"Slack webhook: {type(error).__name__}; check its URL") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _TryAgain(f"connection failed: {type(error).__name__}", None) from None
        if 200 <= answer.status_code < 300:
            return
        reason = f"{answer.status_code} {self._redacted(answer.body)}".strip()
        if answer.status_code == 429:
            raise _TryAgain(reason, _retry_after_s(answer))
        if answer.status_code >= 500 or answer.status_code == 408:
            raise _TryAgain(reason, None)
        raise DeliveryRejected(f"Slack webhook answered {reason}; check the webhook, its channel and its app")

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return clean(text, 100)

    def _seconds_to_wait(self, state: RetryCallState) -> float:
        _, asked_s = _failure(state).args
        return float(asked_s) if asked_s is not None else self._wait(state)

    def _tell(self, state: RetryCallState) -> None:
        if self._on_retry is not None and state.next_action is not None:
            self._on_retry(str(_failure(state).args[0]), state.next_action.sleep)


def _failure(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    return error or _TryAgain("", None)


def _give_up(state: RetryCallState) -> NoReturn:
    reason = _failure(state).args[0]
    raise SinkUnavailable(f"Slack took no message in {state.attempt_number} tries; the last said: {reason}") from None


def _retry_after_s(answer: WebhookResponse) -> float:
    """Return the seconds of the header ``Retry-After``; 1 s where it is missing or no number."""
    try:
        asked_s = float(answer.headers.get("Retry-After", "1"))
    except ValueError:
        return 1.0
    return min(max(asked_s, 0.0), MAX_RETRY_AFTER_S) if asked_s == asked_s else 1.0
