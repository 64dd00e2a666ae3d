"""A finding of a check: a verdict, what was observed, and the next step."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

import trio

from zapline.domain.errors import ZaplineError
from zapline.domain.privacy.masking import mask_secrets, mask_text


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """``next_step`` says what to do; empty if nothing is to be done."""

    what: str
    verdict: Verdict
    observation: str
    next_step: str = ""

    def as_json(self) -> dict[str, str]:
        verdict = self.verdict.value.lower()
        return {"what": self.what, "verdict": verdict, "said": self.observation, "nextStep": self.next_step}


def ok(what: str, observation: str) -> Finding:
    return Finding(what, Verdict.OK, observation)


def warn(what: str, observation: str, next_step: str) -> Finding:
    return Finding(what, Verdict.WARN, masked(observation), next_step)


def fail(what: str, observation: str, next_step: str) -> Finding:
    return Finding(what, Verdict.FAIL, masked(observation), next_step)


def masked(text: str) -> str:
    return mask_text(mask_secrets(" ".join(text.split())))


Report = Callable[[Finding], None]
Probe = Callable[[Report], Awaitable[None]]


async def run_probe(what: str, seconds: float, probe: Probe, report: Report) -> None:
    """Run a probe; a timeout or an error of ours becomes a failed finding."""
    try:
        with trio.fail_after(seconds):
            await probe(report)
    except trio.TooSlowError:
        report(
            fail(what, f"no answer within {seconds:g} s", "Check that it runs and that the network lets us through.")
        )
    except ZaplineError as error:
        report(fail(what, str(error), "Mend this first; what follows from it was not checked."))
