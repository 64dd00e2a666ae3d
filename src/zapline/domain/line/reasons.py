"""Defines the phases of a line, and the status, reason, sentence and advice that are shown for them."""

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where the connection stands inside the machine."""

    IDLE = "idle"
    CONNECTING = "connecting"
    PAIRING = "pairing"
    OPEN = "open"
    BACKING_OFF = "backing_off"
    LOGGED_OUT = "logged_out"
    REFUSED = "refused"


STATUS_OF_PHASE = {
    Phase.IDLE: "disconnected",
    Phase.CONNECTING: "connecting",
    Phase.PAIRING: "connecting",
    Phase.OPEN: "connected",
    Phase.BACKING_OFF: "disconnected",
    Phase.LOGGED_OUT: "disconnected",
    Phase.REFUSED: "disconnected",
}
"""What the API shows as ``status`` for each phase."""


class Reason(StrEnum):
    """What the API shows as ``reason``."""

    NEVER_CONNECTED = "never_connected"
    CONNECTING = "connecting"
    WAITING_SCAN = "waiting_scan"
    SCAN_COMPLETED = "scan_completed"
    DISCONNECTED = "disconnected"
    LOGGED_OUT = "logged_out"
    QR_LIMIT_REACHED = "qr_limit_reached"
    REPLACED_ELSEWHERE = "replaced_elsewhere"
    BANNED = "banned"
    INSTANCE_REMOVED = "instance_removed"
    EVOLUTION_UNAVAILABLE = "evolution_unavailable"
    EVOLUTION_REFUSED = "evolution_refused"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A sentence for people, and what the operator should do."""

    sentence: str
    advice: str


EXPLANATIONS = {
    Reason.NEVER_CONNECTED: Explanation(
        "This line has never been connected to WhatsApp.",
        "Ask to connect, then scan the QR code with the unit's phone.",
    ),
    Reason.CONNECTING: Explanation(
        "The line is being connected.",
        "Wait a moment; if it lasts longer than two minutes, check that the Evolution server reaches WhatsApp.",
    ),
    Reason.WAITING_SCAN: Explanation(
        "A QR code waits to be scanned.",
        "On the unit's phone open WhatsApp, Linked devices, Link a device, and scan the code.",
    ),
    Reason.SCAN_COMPLETED: Explanation("The phone is linked and the line is open.", "Nothing to do."),
    Reason.DISCONNECTED: Explanation(
        "The line is not connected.",
        "If a person disconnected it, ask to connect when it is needed again; otherwise Zapline is "
        "reconnecting by itself.",
    ),
    Reason.LOGGED_OUT: Explanation(
        "The phone unlinked this device, or WhatsApp ended the session.",
        "Ask to connect and scan a new QR code.",
    ),
    Reason.QR_LIMIT_REACHED: Explanation(
        "Nobody scanned the QR codes, and Evolution stopped offering new ones.",
        "Take the phone to hand, ask to connect again and scan within a minute.",
    ),
    Reason.REPLACED_ELSEWHERE: Explanation(
        "Another program opened the same WhatsApp session.",
        "Find and stop the other program (an old backend, a second Evolution server); Zapline tries again every "
        "five minutes.",
    ),
    Reason.BANNED: Explanation(
        "WhatsApp refuses this number.",
        "Open WhatsApp on the phone and read what it says; ask for a review there. Do not keep reconnecting.",
    ),
    Reason.INSTANCE_REMOVED: Explanation(
        "The instance was deleted on the Evolution server.",
        "Ask to connect: Zapline creates it again, and the phone must scan a new QR code.",
    ),
    Reason.EVOLUTION_UNAVAILABLE: Explanation(
        "The Evolution server cannot be reached or is not ready.",
        "Check that it runs, that EVOLUTION_API_URL is right and that its licence is active; Zapline keeps trying.",
    ),
    Reason.EVOLUTION_REFUSED: Explanation(
        "The Evolution server is there but refuses Zapline's calls.",
        "Check EVOLUTION_API_KEY and run `zapline doctor`; Zapline keeps trying.",
    ),
}
