"""What a probe found: a verdict, a sentence, and the next step."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

import trio

from zapline.domain.errors import ZaplineError
from zapline.domain.privacy.masking import mask_text, mask_url


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """``next_step`` says what to do; empty where nothing is to be done."""

    what: str
    verdict: Verdict
    said: str
    next_step: str = ""

    def as_json(self) -> dict[str, str]:
        verdict = self.verdict.value.lower()
        return {"what": self.what, "verdict": verdict, "said": self.said, "nextStep": self.next_step}


def ok(what: str, said: str) -> Finding:
    return Finding(what, Verdict.OK, said)


def warn(what: str, said: str, next_step: str) -> Finding:
    return Finding(what, Verdict.WARN, masked(said), next_step)


def fail(what: str, said: str, next_step: str) -> Finding:
    return Finding(what, Verdict.FAIL, masked(said), next_step)


def masked(text: str) -> str:
    return mask_text(mask_url(" ".join(text.split())))


Tell = Callable[[Finding], None]
Probe = Callable[[Tell], Awaitable[None]]


async def within(what: str, seconds: float, probe: Probe, tell: Tell) -> None:
    """Run a probe; one that does not end in time, or ends by an error of ours, is a failure itself."""
    try:
        with trio.fail_after(seconds):
            await probe(tell)
    except trio.TooSlowError:
        tell(fail(what, f"no answer within {seconds:g} s", "Check that it runs and that the network lets us through."))
    except ZaplineError as error:
        tell(fail(what, str(error), "Mend this first; what follows from it was not checked."))
