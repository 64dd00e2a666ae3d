"""Prints the section of docs/states.md about work states from the transition table."""

from zapline.domain.outbox.work_states import WORK_TRANSITIONS, WorkState

_STATE_TEXTS: dict[WorkState, tuple[str, str, str]] = {
    WorkState.QUEUED: (
        "An accepted message, a campaign's next recipient, a failure that may be tried again, a line that would take "
        "nothing, a person or a policy that sends an uncertain one once more.",
        "The unit's sender claims it when it is due, its line is open and its pace allows it. A person cancels it. Its "
        "time runs out. The echo of an earlier call shows that it has arrived.",
        "Nothing changes.",
    ),
    WorkState.LEASED: (
        "The claim of the unit's sender. The claim, its fence and the row of the call are committed before the call.",
        "The answer, which is journaled first: taken, refused, failed, or none.",
        "The next sender of the unit finds the lease. It cannot know whether the call was made: the message becomes "
        "uncertain. An answer that was journaled before the crash is applied first.",
    ),
    WorkState.UNCERTAIN: (
        'A call without an answer: a timeout, a reset, a proxy\'s error page, 400 "Timed Out", a crash.',
        "An echo, a status or Evolution's store under the id that was chosen for it; or an echo or the store with the "
        "same recipient, content and time, and an id that nobody owns. Where the server honours chosen ids, its "
        "absence from the store proves that it was not sent, and it is sent again under its id. After three looks into "
        "the store it waits for a person, who sends it again or gives it up. A unit's policy may send it once more "
        'where the store proves that it is not there; never after "Timed Out".',
        "Nothing changes.",
    ),
    WorkState.SETTLED: (
        "Evolution took it, as its answer, its echo or its store says. What follows is delivery.",
        "Nothing.",
        "Nothing changes.",
    ),
    WorkState.DEAD: (
        "Refused for good, or three failures by its own fault. Nothing was sent.",
        "Another chance that a person gives to a campaign's failures; or an echo that shows that it arrived all the "
        "same.",
        "Nothing changes.",
    ),
    WorkState.CANCELLED: (
        "A person took it back or gave it up; its campaign was cancelled; its contact wants no campaigns.",
        "An echo that shows that it arrived all the same.",
        "Nothing changes.",
    ),
    WorkState.EXPIRED: ("Its time was over while it was queued.", "As for cancelled.", "Nothing changes."),
}
"""For each state: how a message enters it, how it leaves, what a crash does."""


def work_section() -> str:
    """The section as Markdown, ending in one newline."""
    lines = [
        "## Work on an outgoing message",
        "",
        "Where the work stands and how far the message has come are two things; this is the first.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {WorkState.QUEUED}",
        *(f"    {work} --> {to}" for work in WorkState for to in WorkState if to in WORK_TRANSITIONS[work]),
        "```",
        "",
    ]
    for work in WorkState:
        enters, leaves, crash = _STATE_TEXTS[work]
        lines += [
            f"### {work.capitalize()}",
            "",
            f"**In:** {enters}",
            "",
            f"**Out:** {leaves}",
            "",
            f"**Crash:** {crash}",
            "",
        ]
    return "\n".join(lines)
