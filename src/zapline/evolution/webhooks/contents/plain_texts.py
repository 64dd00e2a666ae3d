"""Recognises the message that most are: a text and nothing else, which needs none of the readers of contents."""

from zapline.evolution.webhooks.json_fields import JsonObject, text

_KEYS = frozenset(
    {
        "key",
        "pushName",
        "status",
        "message",
        "contextInfo",
        "messageType",
        "messageTimestamp",
        "instanceId",
        "source",
        "owner",
    }
)
"""Of an element. Whatever else there is may say more, as what was merged in or a transcript."""
_ABOUT_DEVICES = frozenset({"deviceListMetadata", "deviceListMetadataVersion", "messageSecret"})
"""Of ``messageContextInfo``: all that says nothing of the text, and the secret, which is read by its own reader."""


def plain_text(body: JsonObject, data: JsonObject) -> str | None:
    """The text of an element whose message is ``body``; None: all readers are to look at it.

    What they would have made of it is the same; they only need longer.
    """
    said = body.get("conversation")
    if type(said) is not str or data.get("contextInfo") or not data.keys() <= _KEYS:
        return None
    if len(body) > 1:
        context = body.get("messageContextInfo", False)
        if len(body) > 2 or not (context is None or (type(context) is dict and context.keys() <= _ABOUT_DEVICES)):
            return None
    return text(said)
