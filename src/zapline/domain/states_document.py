"""Prints docs/states.md from the tables: ``python -m zapline.domain.states_document > docs/states.md``."""

import sys
from collections.abc import Iterable, Iterator

from zapline.domain.line.reasons import EXPLANATIONS, STATUS_OF_PHASE, Phase, Reason
from zapline.domain.line.transitions import SIGNALS_OF_SOME_PHASES, TRANSITIONS, LineAction, LineSignal, Transition
from zapline.domain.messages.delivery_status import EVOLUTION_STATUSES, DeliveryStatus, merge_statuses
from zapline.domain.outbox.work_states_document import work_section

_PHASE_TEXTS: dict[Phase, tuple[str, str, str]] = {
    Phase.IDLE: (
        "A new unit begins here. A person's disconnect leads here, and so does an instance that was removed, or a line "
        "that others were connecting and that ended.",
        "A person who asks to connect. For a line without a past, what Evolution reports is believed: a code, "
        "`connecting`, `open`. With a past, it may be an echo of it, so only an observation leads out.",
        "Nothing is lost. A logout that was not answered is stored as pending and is called again.",
    ),
    Phase.CONNECTING: (
        "A person's ask; or an open line that is observed to be connecting by itself.",
        "A code, an open line, a close or a failed call. `Connecting` alone changes nothing; it is observed, with a "
        "growing gap.",
        "The instance is registered again and connect is called again; both are harmless when repeated.",
    ),
    Phase.PAIRING: (
        "A code, from a webhook or as the answer of connect.",
        "A scan opens the line. The limit of codes, or a close that is observed, ends the pairing; what was seen of "
        "the cause becomes the reason. A close while the code is fresh may be a scan that "
        "Evolution did not finish: one more connect does. A code that has "
        "outlived its life is fetched again only while somebody looks at it, and only from a pairing that is still "
        "under way.",
        "The code stays shown with its age; the state is observed at once and the webhook verified.",
    ),
    Phase.OPEN: (
        "`Open` reported during a connect, or observed at any time.",
        "A close, or observations that say otherwise for five seconds (20 after the server was away): a restart of the "
        "server takes less. A late word raises a doubt instead: it is observed, and only when no observation succeeds "
        "for a minute is the line taken for lost. `Open` again ends doubts and rests, and is taken for the end of an "
        "absence.",
        "The webhook is verified and the state observed at once.",
    ),
    Phase.BACKING_OFF: (
        "A wanted line that was closed with its session kept, or whose calls fail. A line whose server does not answer "
        "is shown so within ten seconds, whatever its own phase is.",
        "An open line or a code. The line tries by itself, first after 3 seconds, then with doubling delays of at most "
        "5 minutes, for as long as it is wanted. The delays begin anew only after the line was open for two minutes.",
        "It is observed at once; the delays begin anew.",
    ),
    Phase.LOGGED_OUT: (
        "A close with 401 or 406 (session ended), 402 or 403 (number refused), believed at once and observed a little "
        "later.",
        "A person who asks to connect, a code, or an observation that says open. Nothing is connected by itself.",
        "Nothing is lost; the state is observed within the probe interval.",
    ),
    Phase.REFUSED: (
        "The limit of codes, or the end of a pairing of which Evolution did not tell.",
        "A person who asks to connect, a code of somebody else's pairing, or an observation that says open. No code is "
        "asked for here.",
        "Nothing is lost; the state is observed within the probe interval.",
    ),
}
"""For each phase: how a line enters it, how it leaves, what a crash does."""

_ACTION_TEXTS: dict[LineAction, str] = {
    LineAction.REGISTER: "create the instance if it is missing, set and verify its webhook; repeated until answered",
    LineAction.CONNECT: "call connect",
    LineAction.OBSERVE: "ask for the connection's state; at most once in a gap that grows from 1 to 60 seconds, "
    "else later",
    LineAction.CHECK: "read the webhook back with each probe; set it again if somebody has changed it, unless the unit "
    "says otherwise",
    LineAction.RENEW_PAIRING: "log out of the pairing that is under way, and register again: Evolution hears a number "
    "only when it begins a pairing",
    LineAction.RECREATE: "delete the instance and register it again; what waits to be sent stays",
    LineAction.LOGOUT: "unlink the phone; repeated until answered",
    LineAction.RETRY: "register, and then connect, if the delay is over; take the next, longer delay",
    LineAction.PULL_QR: "connect, if the code is too old and somebody looks; each repetition waits longer",
    LineAction.FRESHEN: "observe, as somebody looks: a scan may have ended without a word",
    LineAction.DOUBT: "observe, and give the line up if no observation succeeds within a minute",
    LineAction.BACK_OFF: "wake up after the next, longer delay, unless one is running",
    LineAction.STAND_BACK: "wake up after the longest delay",
}

_INTRODUCTION = """\
# States

Printed from the tables by `make docs`; a test compares. Change the tables, not this page.

A line is in one of seven phases. The API shows `status` (connected, connecting, disconnected) and `reason`. Webhooks
come late, twice and unordered, so a phase is a belief: whatever raises a doubt asks Evolution for the state, and that
observation decides. A line is *wanted* from the moment a person asks to connect, or it was seen open, until a person
asks to disconnect; a line that nobody wants is observed, but never registered or connected.

After a crash only what is stored remains: phase, reason, wanted, a pending logout, the code, the times. Delays, gaps
and doubts begin anew.
"""


def states_page() -> str:
    """The page as Markdown, ending in one newline."""
    phases = map(_phase_section, Phase)
    tables = _actions(), _partial_signals(), _reasons(), work_section(), _statuses()
    return "\n".join((_INTRODUCTION, _chart(), *phases, *tables))


def _title(word: str) -> str:
    return word.replace("_", " ").capitalize()


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _chart() -> str:
    """The transitions between phases; those that stay in a phase are in the tables."""
    lines = ["## Chart", "", "```mermaid", "stateDiagram-v2", f"    [*] --> {Phase.IDLE}"]
    for phase in Phase:
        for to in Phase:
            signals = [signal for signal in _ordered(phase) if TRANSITIONS[phase][signal].to is to]
            if to is not phase and signals:
                lines.append(f"    {phase} --> {to}: {_shortened(signals)}")
    return "\n".join(
        [*lines, "```", "", f"At most {_ARROW_SIGNALS} signals are named on an arrow; the tables have all.", ""]
    )


_ARROW_SIGNALS = 3


def _shortened(signals: list[LineSignal]) -> str:
    named = ", ".join(signals[:_ARROW_SIGNALS])
    return named if len(signals) <= _ARROW_SIGNALS else f"{named}, +{len(signals) - _ARROW_SIGNALS}"


def _ordered(phase: Phase) -> Iterator[LineSignal]:
    return (signal for signal in LineSignal if signal in TRANSITIONS[phase])


def _phase_section(phase: Phase) -> str:
    enters, leaves, crash = _PHASE_TEXTS[phase]
    moves = [(signal, TRANSITIONS[phase][signal]) for signal in _ordered(phase)]
    effective = [(signal, move) for signal, move in moves if move != Transition(phase)]
    ineffective = [signal for signal, move in moves if move == Transition(phase)]
    rows = ((signal.value, _target_text(phase, move), _actions_text(move)) for signal, move in effective)
    return "\n".join(
        [
            f"## {_title(phase)}",
            "",
            f"Shown as `{STATUS_OF_PHASE[phase]}`.",
            "",
            f"**In:** {enters}",
            "",
            f"**Out:** {leaves}",
            "",
            f"**Crash:** {crash}",
            "",
            _table(("signal", "leads to", "asks for"), rows),
            f"Changes nothing: {', '.join(ineffective)}.\n",
        ]
    )


def _target_text(phase: Phase, move: Transition) -> str:
    target = "(stays)" if move.to is phase else f"**{_title(move.to).lower()}**"
    return target if move.reason is None else f"{target}, `{move.reason}`"


def _actions_text(move: Transition) -> str:
    return ", ".join(action.value for action in move.do)


def _actions() -> str:
    rows = ((action.value, _ACTION_TEXTS[action]) for action in LineAction)
    return "## What a move asks for\n\n" + _table(("word", "meaning"), rows)


def _partial_signals() -> str:
    rows = (
        (signal.value, ", ".join(_title(phase).lower() for phase in Phase if phase in SIGNALS_OF_SOME_PHASES[signal]))
        for signal in LineSignal
        if signal in SIGNALS_OF_SOME_PHASES
    )
    text = (
        "## Signals of some phases only\n\n"
        "Every other signal has a move in every phase. These are told apart only where the difference matters;\n"
        "elsewhere the same event is the plain signal. Should one appear there all the same, it is counted and\n"
        "changes nothing.\n\n"
    )
    return text + _table(("signal", "phases"), rows)


def _reasons() -> str:
    rows = ((f"`{reason}`", EXPLANATIONS[reason].sentence, EXPLANATIONS[reason].advice) for reason in Reason)
    return "## Reasons\n\n" + _table(("reason", "what it says", "what to do"), rows)


def _statuses() -> str:
    words = {
        status: [word for word, known in EVOLUTION_STATUSES.items() if known is status] for status in DeliveryStatus
    }
    rows = ((status.label, str(int(status)), ", ".join(f"`{w}`" for w in words[status])) for status in DeliveryStatus)
    merged = (
        (f"**{known.label}**", *(f"{merge_statuses(known, reported).label}" for reported in DeliveryStatus))  # type: ignore[union-attr]
        for known in DeliveryStatus
    )
    return "\n".join(
        [
            "## Delivery",
            "",
            "What is known of a message's way to its reader. A later report never lowers it, so reports may come twice "
            "and in any",
            "order. `failed` stands above `sent` and yields to any proof of arrival.",
            "",
            _table(("status", "rank", "Evolution's word"), rows),
            "Known (row) and reported (column) become:",
            "",
            _table(("", *(status.label for status in DeliveryStatus)), merged).rstrip("\n"),
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(states_page())
