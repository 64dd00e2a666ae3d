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
    CODES_NOT_TAKEN = "codes_not_taken"
    LINK_NOT_COMPLETED = "link_not_completed"
    PASSKEY_ASKED = "passkey_asked"
    NO_PAIRING_CODE = "no_pairing_code"
    SESSION_STUCK = "session_stuck"
    REPLACED_ELSEWHERE = "replaced_elsewhere"
    BANNED = "banned"
    INSTANCE_REMOVED = "instance_removed"
    EVOLUTION_UNAVAILABLE = "evolution_unavailable"
    EVOLUTION_UNLICENSED = "evolution_unlicensed"
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
        "Evolution stopped offering QR codes before a phone was linked.",
        "Take the phone to hand, ask to connect again and scan within a minute; after a scan without effect, asking "
        "again may open the line at once.",
    ),
    Reason.CODES_NOT_TAKEN: Explanation(
        "Codes were shown for minutes, and no phone was linked by them.",
        "Scan the newest one. If a scan has no effect, the phone may ask for a passkey or refuse the link: "
        "read what it says, run zapline doctor.",
    ),
    Reason.LINK_NOT_COMPLETED: Explanation(
        "A scan seems to have begun, but WhatsApp did not complete the link.",
        "Check what the phone says; if it cannot link the device, try the newest WhatsApp and Evolution. "
        "zapline doctor tells what this version is known for.",
    ),
    Reason.PASSKEY_ASKED: Explanation(
        "WhatsApp asks for a passkey before it links this phone.",
        "Check whether this Evolution supports passkeys; if not, update it, or turn the passkey off on the phone, "
        "then scan again.",
    ),
    Reason.NO_PAIRING_CODE: Explanation(
        "Evolution shows a QR code where a code to type in was asked for.",
        "Scan the QR code; or ask to disconnect, wait until the line is not connected, and ask for the code again.",
    ),
    Reason.SESSION_STUCK: Explanation(
        "The line closes again each time it is connected.",
        "Check that Evolution reaches WhatsApp; if other lines are connected, renew this one: the phone scans again, "
        "and what waits stays.",
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
        "Check that it runs and that EVOLUTION_API_URL is right; Zapline keeps trying.",
    ),
    Reason.EVOLUTION_UNLICENSED: Explanation(
        "The Evolution server runs without an active licence.",
        "Open Evolution's manager page and activate its licence, which version 2.4 needs; Zapline keeps trying.",
    ),
    Reason.EVOLUTION_REFUSED: Explanation(
        "The Evolution server is there but refuses Zapline's calls.",
        "Check EVOLUTION_API_KEY and run zapline doctor; Zapline keeps trying.",
    ),
}
