"""Decides which of the planted faults strikes a request or a webhook."""

import random
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

ON_REQUESTS = (
    "refuse",  # the connection is reset before anything is done
    "hang",  # nothing is done, no answer comes
    "error",  # 5xx in Evolution's own envelope, nothing is done
    "throttle",  # 429 with Retry-After
    "license",  # 503 LICENSE_REQUIRED, as 2.4 without a licence
    "html",  # a proxy's page in place of the answer
    "slow",  # done and answered, but late
    "drop_reply",  # done, then closed without an answer
    "never_echo",  # sends only: delivered, 400 "Error: Timed Out", no echo and no status ever
    "act_then_hang",  # sends only: delivered and echoed, no answer comes
    "act_then_reset",  # sends only: delivered and echoed, then the connection is reset
    "late",  # sends only: no answer; delivered and echoed some seconds after the client has gone
    "echo_off",  # sends only: delivered, answered and stored, but no echo
    "whatsapp_throttle",  # sends only: WhatsApp's rate limit in an error's words, nothing is sent
    "connection_closed",  # sends only: 400 "Error: Connection Closed", nothing is sent
    "number_check_timeout",  # sends only: 500 "Timed Out", nothing is sent
)
ON_WEBHOOKS = (
    "duplicate",  # each is delivered twice
    "reorder",  # each is held back for a random time
    "webhooks_off",  # none is delivered, and none is kept
)
KINDS = ON_REQUESTS + ON_WEBHOOKS


@dataclass(slots=True)
class Fault:
    """``instance`` None: all. ``path``: only requests whose path starts so. ``count`` None: until cleared."""

    kind: str
    instance: str | None = None
    path: str = "/"
    count: int | None = None
    probability: float = 1.0
    seconds: float = 1.0
    """How late (slow; late: after the client has gone), how far apart at most (reorder), the Retry-After (throttle)."""
    status: int | None = None
    """Of ``error`` (default 500) and ``html`` (default 502); the three forms of ``whatsapp_throttle`` are 500
    (default), 400, and 463, which is 400 with that number in the words."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind}")


class FaultBoard:
    """The faults in force; a used-up one leaves the board."""

    def __init__(self, chance: random.Random) -> None:
        self.struck: Counter[str] = Counter()
        """How often each kind has struck."""
        self._chance = chance
        self._faults: list[Fault] = []

    def plant(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self, kind: str | None = None, instance: str | None = None) -> None:
        """Remove the faults of this kind and instance; None stands for any."""
        self._faults = [
            fault
            for fault in self._faults
            if (kind is not None and fault.kind != kind) or (instance is not None and fault.instance != instance)
        ]

    def rows(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._faults]

    def strike(self, kinds: tuple[str, ...], instance: str | None, path: str = "/") -> Fault | None:
        """The first fault that fits and whose chance comes up; it is used once."""
        for fault in self._faults:
            if fault.kind not in kinds or not path.startswith(fault.path):
                continue
            if fault.instance is not None and fault.instance != instance:
                continue
            if fault.probability < 1.0 and self._chance.random() >= fault.probability:
                continue
            if fault.count is not None:
                fault.count -= 1
                if fault.count <= 0:
                    self._faults.remove(fault)
            self.struck[fault.kind] += 1
            return fault
        return None
