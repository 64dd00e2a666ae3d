"""Maps each failure code of a send to a sentence that says what happened and what can be done.

The codes are those of ``zapline.evolution.client.failures`` and our own.
"""

from collections.abc import Mapping

FAILURE_TEXTS: Mapping[str, str] = {
    # Caused by the line or the server: nothing was sent, and the message waits.
    "unreachable": "Evolution could not be reached; nothing was sent, and it is tried again by itself.",
    "throttled": (
        "WhatsApp or Evolution asked for fewer messages; nothing was sent, and the line goes on later by itself. "
        "Write to fewer new contacts."
    ),
    "server_not_ready": "Evolution is starting or in maintenance; nothing was sent, and it is tried again by itself.",
    "not_licensed": (
        "Evolution's licence is not active; nothing was sent, and it is tried again by itself. "
        "Activate it on Evolution's manager page."
    ),
    "not_connected": "The line is not connected to WhatsApp; nothing was sent. It is sent once the line is connected.",
    "operation_failed": "Evolution could not restart or connect the line; connect it again if it stays disconnected.",
    "instance_unknown": "Evolution does not know this line any more; nothing was sent. Connect the line again.",
    "route_unknown": "The address of Evolution does not lead to Evolution; nothing was sent. Check the setting.",
    "unauthorized": "Evolution refused our key; nothing was sent. Check the API key.",
    "disk_refuses": (
        "Zapline's disk takes no notes of what is sent, so nothing is sent; it goes on by itself once the disk is "
        "free again and may be written."
    ),
    # Caused by the message: nothing was sent, and the same message never will be.
    "instance_exists": "Evolution has another line of this name; remove it there or choose another name.",
    "invalid_request": "Evolution refused the content as invalid; nothing was sent. Change it and send it anew.",
    "number_not_on_whatsapp": "This number is not on WhatsApp; nothing was sent. Check the number.",
    "hidden_number": (
        "This person's number is hidden, and this version of Evolution cannot write to hidden numbers; nothing was "
        "sent. Nothing is wrong with the number. Evolution 2.4 and later can; or answer on the phone."
    ),
    "whatsapp_refused": (
        "WhatsApp refused it, most often because too many strangers were written to; it was not delivered. "
        "Write to fewer new people; those who have written to you can still be answered."
    ),
    "whatsapp_refused_463": (
        "WhatsApp refused it with code 463: the line has written to too many people who do not know it; it was not "
        "delivered. Write to no new people for a day; those who have written to you can still be answered."
    ),
    "no_receipts": (
        "Of the last twenty campaign messages WhatsApp has confirmed none: no phone has got any of them. "
        "Look at the line on its phone, and whether a message to yourself arrives and is shown as delivered."
    ),
    "media_gone": "The file is no longer available from WhatsApp; ask the contact to send it again.",
    "too_large": "The file is larger than can be sent; nothing was sent. Send a smaller one.",
    # Caused by the message: nothing was sent, after up to three attempts.
    "media_unreachable": "Evolution could not fetch the file from its URL; nothing was sent. Check the URL.",
    "number_check_timed_out": "WhatsApp did not say whether this number exists; nothing was sent. Send it again later.",
    "server_error": "Evolution failed before it sent the message; nothing was sent. Send it again later.",
    # It may have been sent.
    "timed_out_after_relay": (
        "WhatsApp did not confirm the message, and it may have been delivered. Look at the phone before sending again."
    ),
    "failed_inside": (
        "Evolution failed while it handled the message, which may have been delivered. "
        "Look at the phone before sending again."
    ),
    "gateway_failed": (
        "The proxy in front of Evolution lost the answer, and the message may have been delivered. "
        "It is looked for in Evolution; look at the phone before sending again."
    ),
    "no_answer": (
        "Evolution did not answer, and the message may have been delivered. "
        "It is looked for in Evolution; look at the phone before sending again."
    ),
    "bad_answer": (
        "Evolution's answer could not be read, and the message may have been delivered. "
        "It is looked for in Evolution; look at the phone before sending again."
    ),
    "crashed": (
        "The service stopped while the message was being sent, and it may have been delivered. "
        "It is looked for in Evolution; look at the phone before sending again."
    ),
    "id_taken": (
        "Evolution answered with the id of another message, and this one may have been delivered. "
        "Look at the phone before sending again."
    ),
    # Decisions of Zapline and of people.
    "cancelled": "A person took the message back before it was sent; nothing was sent.",
    "expired": "Its time was over before it could be sent; nothing was sent.",
    "opted_out": "The contact asked not to receive campaigns; nothing was sent.",
    "campaign_cancelled": "The campaign was cancelled before this message's turn; nothing was sent.",
    "upload_missing": "The uploaded file is no longer there; nothing was sent. Upload it again and send it anew.",
    "unreadable": "What is stored of the message cannot be read; nothing was sent. Send it anew.",
    "given_up": "A person decided not to send it again; whether it was delivered is not known.",
}

HOLD_TEXTS: Mapping[str, str] = {
    "rate": "As many messages a minute as the unit's pace allows have been sent; the next leaves by itself.",
    "daily_cap": "The unit has sent its messages of the day; the next leaves by itself when the day is over.",
    "campaign_pace": "The pause between two messages of a campaign; the next leaves by itself.",
    "gap": "The pause between two messages to one contact; the next leaves by itself.",
    "refused": "Campaigns wait for what WhatsApp says of the messages that were sent last; replies go on.",
    "quiet_hours": "The unit has its quiet hours: campaigns go on by themselves afterwards, replies go on.",
    "warm_up": "The line is new and has sent its campaign messages of the day; they go on by themselves tomorrow.",
    "paused_by_request": "A person paused the sending; what waits leaves once it is resumed.",
}
"""What limits the pace of a unit (``pacing.PaceHold``), or a person's wish: the message waits for its turn."""

_UNKNOWN = "The message was not sent, or not surely; the reason is given by its code alone."


def failure_text(code: str) -> str:
    """The sentence for a failure code; also for an unknown one, which another version may have stored."""
    return FAILURE_TEXTS.get(code, _UNKNOWN)


def hold_text(code: str) -> str:
    """The sentence for what holds a unit's sending: its pace, a person, or a failure of its line or server."""
    return HOLD_TEXTS.get(code) or failure_text(code)
