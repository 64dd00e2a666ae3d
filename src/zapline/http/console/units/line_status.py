"""Describes the state of a unit's line: a label with its tone, the reason, and what to do."""

from dataclasses import dataclass

from zapline.domain.line.reasons import EXPLANATIONS, Phase, Reason
from zapline.http.console.framework.translation import N_, _, ngettext
from zapline.supervisors.health.line_checks import LineTally
from zapline.supervisors.inbound.unit_state import Unit

_PHASES = {
    Phase.IDLE: ("idle", N_("Not connected")),
    Phase.CONNECTING: ("busy", N_("Connecting")),
    Phase.PAIRING: ("busy", N_("Waiting for the scan")),
    Phase.OPEN: ("good", N_("Connected")),
    Phase.BACKING_OFF: ("warn", N_("Reconnecting")),
    Phase.LOGGED_OUT: ("bad", N_("Logged out")),
    Phase.REFUSED: ("bad", N_("Refused")),
}
_RANKS = {"bad": 0, "warn": 1, "busy": 2, "idle": 3, "good": 4}


@dataclass(frozen=True, slots=True)
class LineStatus:
    """The state of a line in the operator's language. ``tone`` chooses shape and colour."""

    tone: str
    label: str
    sentence: str
    advice: str


def phase_label(phase: Phase, reason: Reason) -> tuple[str, str]:
    """The tone and the label of a phase, in the operator's language."""
    tone, label = _PHASES[phase]
    return tone, _(N_("Banned by WhatsApp") if reason is Reason.BANNED else label)


def trouble_rank(unit: Unit) -> int:
    """The rank of a unit in a list that begins with trouble."""
    if unit.quarantined_at is not None or unit.state is None:
        return _RANKS["bad" if unit.quarantined_at is not None else "idle"]
    phase = unit.server.shown(unit.state.stored).phase
    paused = phase is Phase.OPEN and unit.record.paused_at is not None
    return _RANKS["warn" if paused else _PHASES[phase][0]]


def line_status(unit: Unit) -> LineStatus:
    """The state of this unit's line, from memory."""
    if unit.quarantined_at is not None:
        return LineStatus(
            "bad",
            _("Quarantined"),
            _("It crashed too often and was stopped; its webhooks are kept meanwhile."),
            _("It is tried again by itself. Look into the log for the cause, or end the quarantine."),
        )
    if unit.state is None and unit.held.is_elsewhere:
        return LineStatus(
            "idle",
            _("On another node"),
            _("Another daemon owns this line, and knows its state. What it stores is shown here."),
            _("Open the console of that one: zapline nodes list says which there are."),
        )
    if unit.state is None:
        return LineStatus(
            "idle",
            _("Not read yet"),
            _("Its state has not been read: the database is away. Its webhooks are kept on disk."),
            _("See that PostgreSQL is up; everything goes on by itself then."),
        )
    stored = unit.server.shown(unit.state.stored)
    tone, label = phase_label(stored.phase, stored.reason)
    explanation = EXPLANATIONS[stored.reason]
    if stored.phase is Phase.OPEN and unit.record.paused_at is not None:
        return LineStatus(
            "warn",
            _("Sending is paused"),
            _("The line is open and takes in messages; somebody paused the sending."),
            _("Resume the sending when it may go on."),
        )
    return LineStatus(tone, label, _(explanation.sentence), _(explanation.advice))


def headline(tally: LineTally) -> str:
    """How many lines stand where, as ``3 out, 2 reconnecting, 35 connected``; of what there is none is left out."""
    parts = [
        (tally.out, ngettext("{count} out", "{count} out", tally.out)),
        (tally.reconnecting, ngettext("{count} reconnecting", "{count} reconnecting", tally.reconnecting)),
        (tally.connected, ngettext("{count} connected", "{count} connected", tally.connected)),
        (tally.off, ngettext("{count} off", "{count} off", tally.off)),
    ]
    return ", ".join(text for count, text in parts if count)


_OUTAGES = (
    (3600.0, 60, N_("out for {n} min")),
    (86400.0, 3600, N_("out for {n} h")),
    (float("inf"), 86400, N_("out for {n} d")),
)


def outage_text(seconds: float) -> str:
    """For how long a line has been out."""
    size, text = next((size, text) for limit, size, text in _OUTAGES if seconds < limit)
    return _(text, n=max(0, int(seconds // size)))


def registration_text(unit: Unit) -> tuple[str, str]:
    """What the last check of the line's webhook found: a tone, and a sentence."""
    report = unit.registration
    if report is None:
        return "idle", _("not checked yet")
    if report.differences:
        what = ", ".join(report.differences)
        return "bad", _("Somebody changed it on Evolution ({what}); it is left so, as this unit says.", what=what)
    if report.restored_at is not None:
        return "warn", _("Somebody had changed it on Evolution; it is set again.")
    return "good", _("as it should be")
