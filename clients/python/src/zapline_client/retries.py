"""Decides, without doing it, what follows an answer or the lack of one: a result, an error, or the same again."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from zapline_client.errors import Unanswered, ZaplineError, ZaplineProblem

_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""Errors that come before the request has left."""
_ANSWERED_BY_A_PROXY = frozenset({502, 503, 504})
_REPEATABLE = frozenset({"GET", "PUT"})
_UNKNOWN_OUTCOME = frozenset({"outcome_unknown", "internal_error"})
_MAY_HAVE_ACTED = _UNKNOWN_OUTCOME | {"evolution_failed"}
"""Behind these problems the thing may have been done, also where they are retryable: only what may be repeated is."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call is tried again: at most ``tries`` times, and no longer than ``seconds`` altogether.

    The waits grow from ``first`` to ``longest`` seconds, each shortened by chance by up to a half; what Zapline asks
    for in ``Retry-After`` is waited for in full.
    """

    tries: int = 6
    seconds: float = 60.0
    first: float = 0.5
    longest: float = 10.0

    def pause(self, failures: int, spread: float) -> float:
        """Seconds after so many failures; ``spread`` in 0..1 is drawn by the caller."""
        return float(min(self.longest, self.first * 2 ** min(failures - 1, 30)) * (1 - spread / 2))


@dataclass(slots=True)
class Attempts:
    """The tries of one call. ``repeatable``: repeating it changes nothing more, whatever became of the earlier one."""

    patience: Patience
    method: str
    route: str
    names_itself: bool
    client_id: str | None = None
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    failures: int = 0
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def repeatable(self) -> bool:
        return self.names_itself or self.method in _REPEATABLE

    def after_error(self, error: httpx2.TransportError) -> float:
        """Seconds until the next try. Raises Unanswered where there is none."""
        never_sent = isinstance(error, _NEVER_SENT)
        failed = Unanswered(
            f"{self.method} {self.route}: no answer ({type(error).__name__})",
            safe_to_repeat=self.repeatable or never_sent,
            client_id=self.client_id,
        )
        if not (self.repeatable or never_sent):
            raise failed from error
        try:
            return self._next(failed, None)
        except ZaplineError as last:
            raise last from error

    def after_answer(self, response: httpx2.Response) -> float | None:
        """None for an answer to be used, else the seconds until the next try. Raises ZaplineProblem, Unanswered."""
        if response.status_code < 300 or response.status_code == 304:
            return None
        problem = problem_of(response)
        if problem is None:  # a proxy's page: nobody knows how far the request came
            failed = self.not_by_zapline(response)
            if response.status_code in _ANSWERED_BY_A_PROXY and self.repeatable:
                return self._next(failed, retry_after(response))
            raise failed
        again = problem.retryable or (problem.status >= 500 and problem.code in _UNKNOWN_OUTCOME)
        if again and (self.repeatable or problem.code not in _MAY_HAVE_ACTED):
            return self._next(problem, problem.retry_after)
        raise problem

    def not_by_zapline(self, response: httpx2.Response) -> Unanswered:
        """An error for an answer that is a page of somebody else's, or leads elsewhere."""
        return not_by_zapline(f"{self.method} {self.route}", response, self.repeatable, self.client_id)

    def _next(self, failed: ZaplineError, asked_for: float | None) -> float:
        self.failures += 1
        wait = max(self.patience.pause(self.failures, self.draw()), asked_for or 0.0)
        spent = self.clock() - self.started
        if self.failures >= self.patience.tries or spent + wait > self.patience.seconds:
            raise failed
        return wait


def not_by_zapline(call: str, response: httpx2.Response, repeatable: bool, client_id: str | None = None) -> Unanswered:
    """An error for an answer of somebody else's."""
    text = f"{call}: {response.status_code}, and not by Zapline; is the address right?"
    return Unanswered(text, safe_to_repeat=repeatable, client_id=client_id)


def media_type(response: httpx2.Response) -> str:
    """The media type of an answer, in small letters."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def problem_of(response: httpx2.Response) -> ZaplineProblem | None:
    """The problem that an answer tells, None where it is not Zapline's."""
    if media_type(response) != "application/problem+json":
        return None
    try:
        told: Any = response.json()
    except ValueError:
        return None
    if not isinstance(told, dict) or not isinstance(told.get("code"), str):
        return None
    errors = told.get("errors")
    return ZaplineProblem(
        response.status_code,
        told["code"],
        str(told.get("detail") or ""),
        retryable=told.get("retryable") is True,
        retry_after=retry_after(response),
        errors=[each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else (),
    )


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds that an answer asks to wait for, as a number or a date; None where it asks for none."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time()) if text else None
    except (TypeError, ValueError, OverflowError):
        return None
