"""Says where a message is, what to do about it, and each step on its way, in plain words."""

from collections.abc import Mapping

from zapline.domain.journeys.journey import Finding, Step, StepKind, Verdict
from zapline.domain.line.reasons import EXPLANATIONS as LINE_EXPLANATIONS
from zapline.domain.line.reasons import Explanation, Reason
from zapline.domain.outbox.failure_texts import failure_text, hold_text
from zapline.domain.text import Sentence

EXPLANATIONS: Mapping[Verdict, Explanation] = {
    Verdict.SENT: Explanation(
        "WhatsApp's server has it; the contact's phone has not confirmed it yet.",
        "Nothing to do. The phone may be off or without a network.",
    ),
    Verdict.DELIVERED: Explanation("It is on the contact's phone.", "Nothing to do."),
    Verdict.READ: Explanation("The contact has seen it.", "Nothing to do."),
    Verdict.UNCONFIRMED: Explanation(
        "Evolution took it, and WhatsApp has confirmed it for more than half an hour to nobody.",
        "Look at the unit's phone: one tick means that the contact's phone is off, a clock that it hangs there.",
    ),
    Verdict.RESENT: Explanation(
        "A call had no certain answer, so it was sent once more; it has been seen once.",
        "Nothing to do. Should a second one be seen, it is told here and in the health.",
    ),
    Verdict.TWICE: Explanation(
        "It has arrived twice: it was sent again, and the first call had sent it after all.",
        "Tell the contact if it matters, or delete one of the two on the unit's phone.",
    ),
    Verdict.REFUSED: Explanation(
        "WhatsApp refused it after Evolution had taken it; it was not delivered.",
        "Do what the reason says, then send it anew from the list of what needs a person.",
    ),
    Verdict.UNCERTAIN: Explanation(
        "It may have been delivered: a call had no certain answer, and Evolution's store does not show it.",
        "Look at the unit's phone. If it is there, leave it alone; if it is not, send it again. Both are in the list "
        "of what needs a person.",
    ),
    Verdict.SEARCHING: Explanation(
        "It may have been delivered: a call had no certain answer. Evolution's store is being searched for it.",
        "Wait for the search. Do not send it again by hand: it could arrive twice.",
    ),
    Verdict.SENDING: Explanation("It is being sent at this moment.", "Look again in a minute."),
    Verdict.NOT_SENT: Explanation(
        "It was not sent, and is not tried any more.",
        "Do what the reason says, then send it anew from the list of what needs a person.",
    ),
    Verdict.EXPIRED: Explanation(
        "Its time was over before it could be sent; nothing was sent.",
        "The steps show what it waited for. Send it anew if it still matters.",
    ),
    Verdict.CANCELLED: Explanation("It was taken back before it was sent; nothing was sent.", "Nothing to do."),
    Verdict.GIVEN_UP: Explanation(
        "A person left it alone while it was uncertain; whether it was delivered is not known.",
        "Look at the unit's phone if it matters.",
    ),
    Verdict.PAUSED: Explanation(
        "It waits: a person paused the unit's sending.", "Resume the sending on the page of the line."
    ),
    Verdict.WAITING_FOR_LINE: Explanation(
        "It waits for the line, which is not connected. It uses up no try meanwhile.",
        "Bring the line back; it leaves by itself then, unless its time is over before.",
    ),
    Verdict.WAITING_FOR_PACE: Explanation(
        "It waits for the unit's pace, and leaves by itself.", "Nothing to do. The pace is set on the unit's settings."
    ),
    Verdict.WAITING_FOR_CAMPAIGN: Explanation(
        "It waits: its campaign does not run.", "Resume the campaign on its page, or cancel it."
    ),
    Verdict.HELD: Explanation(
        "It waits: the unit's campaigns are held, because WhatsApp refused too much or confirmed nothing.",
        "Do what the reason says, then release the campaigns on the page of the line.",
    ),
    Verdict.PLANNED: Explanation("It was asked for later, and waits for its time.", "Nothing to do."),
    Verdict.WAITING_FOR_RETRY: Explanation(
        "A try failed, certainly without sending anything; it is tried again by itself.",
        "Nothing to do, unless the reason says so.",
    ),
    Verdict.WAITING_FOR_TURN: Explanation(
        "It waits for its turn, and leaves by itself in a moment.",
        "Look again in a minute. An earlier message to the same contact goes first.",
    ),
    Verdict.STORED: Explanation("Its webhook came, and it is stored.", "Nothing to do."),
    Verdict.STORED_LATE: Explanation(
        "Its webhook never came. It was read back from Evolution's store, and is stored.",
        "Nothing is missing. If it happens often, look whether Evolution reaches Zapline.",
    ),
    Verdict.STORED_SLOWLY: Explanation(
        "Its webhook came in time and was kept on disk; the database took it later.",
        "Nothing is missing. See that PostgreSQL is up and quick.",
    ),
    Verdict.FROM_HISTORY: Explanation(
        "It is of the history that the phone sent along when it was linked.", "Nothing to do."
    ),
    Verdict.SENT_ELSEWHERE: Explanation(
        "Somebody sent it on the unit's phone, or with another program; its echo is stored.", "Nothing to do."
    ),
}
STEP_TEXTS: Mapping[StepKind, str] = {
    StepKind.WRITTEN: "Written, by WhatsApp's clock",
    StepKind.ACCEPTED: "Accepted and stored",
    StepKind.RECEIVED: "The webhook came and was written to disk",
    StepKind.READ_BACK: "Read back from Evolution's store",
    StepKind.STORED: "Stored in the database",
    StepKind.WAITED_FOR_LINE: "Waited for the line",
    StepKind.PLANNED: "To be sent from this time on",
    StepKind.CALLED: "Call {number} to Evolution began",
    StepKind.ANSWER_SENT: "Evolution took it, by call {number}",
    StepKind.ANSWER_NOT_SENT: "Call {number} certainly sent nothing",
    StepKind.ANSWER_REJECTED: "Evolution refused call {number}",
    StepKind.ANSWER_UNCERTAIN: "Call {number} had no certain answer",
    StepKind.PROVEN_ECHO: "Its echo proved that call {number} had sent it",
    StepKind.PROVEN_STORE: "Evolution's store proved that call {number} had sent it",
    StepKind.PROVEN_STATUS: "A report of its delivery proved that call {number} had sent it",
    StepKind.SECOND: "It was delivered a second time, by call {number}",
    StepKind.TOLD_SENT: "WhatsApp's server reported that it has it",
    StepKind.TOLD_DELIVERED: "The contact's phone reported that it has it",
    StepKind.TOLD_READ: "The contact has read it",
    StepKind.TOLD_PLAYED: "The contact has played it",
    StepKind.REFUSED: "WhatsApp refused it",
    StepKind.UNCONFIRMED: "Nobody had confirmed it for half an hour",
    StepKind.GIVEN_UP: "Given up as not sent",
    StepKind.EXPIRED: "Its time was over",
    StepKind.CANCELLED: "Taken back or left alone",
    StepKind.EDITED: "The text was edited",
    StepKind.DELETED: "Deleted for everyone",
    StepKind.HOOK_QUEUED: "Waits to be told to the CRM: {event}",
    StepKind.HOOK_DELIVERED: "Told to the CRM: {event}",
    StepKind.HOOK_DEAD: "The CRM did not take it: {event}",
}


def step_sentence(step: Step) -> Sentence:
    """The step in words."""
    values: dict[str, object] = {"number": step.number} if step.number is not None else {}
    if step.event is not None:
        values["event"] = step.event
    return Sentence(STEP_TEXTS[step.kind], **values)


def step_reason(step: Step) -> str | None:
    """Why, as a sentence; None where there is nothing to say. What a webhook met is a word of its own."""
    if step.reason is None or step.event is not None:
        return None
    if step.kind is StepKind.WAITED_FOR_LINE:
        return LINE_EXPLANATIONS[Reason(step.reason)].sentence
    return failure_text(step.reason)


def finding_reason(finding: Finding) -> str | None:
    """Why the message is where it is, as a sentence."""
    if finding.reason is None:
        return None
    if finding.verdict is Verdict.WAITING_FOR_LINE:
        return LINE_EXPLANATIONS[Reason(finding.reason)].sentence
    return hold_text(finding.reason)
