"""Decides which of the injected faults applies to a request or a webhook."""

import random
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

ON_REQUESTS = (
    "refuse",  # the connection is reset before the request is processed
    "hang",  # the request is not processed, and no response comes
    "error",  # 5xx in Evolution's own envelope, the request is not processed
    "throttle",  # 429 with Retry-After
    "license",  # 503 LICENSE_REQUIRED, as 2.4 without a licence
    "html",  # a proxy's error page in place of the response
    "slow",  # processed and answered after a delay
    "drop_reply",  # processed, then closed without a response
    "never_echo",  # sends only: delivered, 400 "Error: Timed Out", never an echo or a status
    "act_then_hang",  # sends only: delivered and echoed, no response comes
    "act_then_reset",  # sends only: delivered and echoed, then the connection is reset
    "late",  # sends only: no response; delivered and echoed some seconds after the client has disconnected
    "echo_off",  # sends only: delivered, answered and stored, but no echo
    "refused_later",  # sends only: answered and echoed, never delivered; then the status ERROR
    "whatsapp_throttle",  # sends only: WhatsApp's rate limit in the error text, nothing is sent
    "connection_closed",  # sends only: 400 "Error: Connection Closed", nothing is sent
    "number_check_timeout",  # sends only: 500 "Timed Out", nothing is sent
)
ON_WEBHOOKS = (
    "duplicate",  # every webhook is delivered twice
    "reorder",  # every webhook is delayed by a random time
    "webhooks_off",  # no webhook is delivered or retried
)
KINDS = ON_REQUESTS + ON_WEBHOOKS


@dataclass(slots=True)
class Fault:
    """``instance`` None: all. ``path``: a prefix of the request path. ``count`` None: until cleared. ``after``: as many
    requests as match are spared first."""

    kind: str
    instance: str | None = None
    path: str = "/"
    count: int | None = None
    after: int = 0
    probability: float = 1.0
    seconds: float = 1.0
    """Delay (slow; late: after the client disconnected), longest delay (reorder), Retry-After (throttle)."""
    status: int | None = None
    """Of ``refused_later``: WhatsApp's code beside the status, as 463; none by default, as with 2.3.7.
    Of ``error`` (default 500) and ``html`` (default 502); the three forms of ``whatsapp_throttle`` are 500
    (default), 400, and 463, which is 400 with that number in the text."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind}")


class FaultInjector:
    """The active faults; a fault is removed when its count is used up."""

    def __init__(self, rng: random.Random) -> None:
        self.triggered: Counter[str] = Counter()
        """How often each kind of fault has been triggered."""
        self._rng = rng
        self._faults: list[Fault] = []

    def inject(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self, kind: str | None = None, instance: str | None = None) -> None:
        """Remove the faults of this kind and instance; None matches any."""
        self._faults = [
            fault
            for fault in self._faults
            if (kind is not None and fault.kind != kind) or (instance is not None and fault.instance != instance)
        ]

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._faults]

    def trigger(self, kinds: tuple[str, ...], instance: str | None, path: str = "/") -> Fault | None:
        """Return the first fault that matches and passes its probability, and use it once."""
        for fault in self._faults:
            if fault.kind not in kinds or not path.startswith(fault.path):
                continue
            if fault.instance is not None and fault.instance != instance:
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            if fault.probability < 1.0 and self._rng.random() >= fault.probability:
                continue
            if fault.count is not None:
                fault.count -= 1
                if fault.count <= 0:
                    self._faults.remove(fault)
            self.triggered[fault.kind] += 1
            return fault
        return None
