"""Trying again: one rule for every destination reached over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, stop_never
from tenacity.wait import wait_random_exponential

from streams.sinks.errors import SinkUnavailable

Taken = TypeVar("Taken")
OnRetry = Callable[[str, float], None]
MAX_RETRY_AFTER_S = 3_600.0


class TryAgain(Exception):
    """One attempt failed in a way that may pass; `asked_s` is how long the destination asked to wait."""

    def __init__(self, reason: str, asked_s: float | None = None) -> None:
        super().__init__(reason)
        self.asked_s = asked_s


async def until_taken(
    attempt: Callable[[], Awaitable[Taken]],
    *,
    destination: str,
    first_wait_s: float,
    max_wait_s: float,
    give_up_s: float | None = None,
    on_retry: OnRetry | None = None,
) -> Taken:
    """Repeat an attempt while it raises `TryAgain`, and return what it returns.

    Parameters
    ----------
    attempt
        One attempt; may run many times.
    destination
        How errors name it.
    first_wait_s, max_wait_s
        Waits are random up to a bound that starts at the first and doubles to the second.
        A wait the destination asked for is obeyed instead.
    give_up_s
        After how long to give up; None means never.
    on_retry
        Called before each wait with the reason and the seconds until the next attempt.

    Raises
    ------
    SinkUnavailable
        `give_up_s` passed.
    """
    backoff = wait_random_exponential(multiplier=first_wait_s, max=max_wait_s)

    def seconds_to_wait(state: RetryCallState) -> float:
        asked_s = _failure(state).asked_s
        return backoff(state) if asked_s is None else asked_s

    def tell(state: RetryCallState) -> None:
        if on_retry is not None:
            on_retry(str(_failure(state)), state.upcoming_sleep)

    def give_up(state: RetryCallState) -> NoReturn:
        tries = "1 try" if state.attempt_number == 1 else f"{state.attempt_number} tries"
        raise SinkUnavailable(f"{destination} took nothing in {tries}; the last said: {_failure(state)}") from None

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(TryAgain),
        wait=seconds_to_wait,
        stop=stop_never if give_up_s is None else stop_after_delay(give_up_s),
        before_sleep=tell,
        retry_error_callback=give_up,
    )
    return await retrying(attempt)


def _failure(state: RetryCallState) -> TryAgain:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, TryAgain) else TryAgain("no attempt was made")


def retry_after_s(header: str | None, default: float | None = None) -> float | None:
    """Return the seconds of a header ``Retry-After`` (at most an hour), the default where it has none."""
    try:
        asked_s = float(header or "")
    except ValueError:
        return default
    return min(max(asked_s, 0.0), MAX_RETRY_AFTER_S) if asked_s == asked_s else default
