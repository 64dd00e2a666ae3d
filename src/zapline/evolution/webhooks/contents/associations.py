"""Reads of what a message is a part: an album, an event, a motion photo; or of which photo it is a better copy."""

from zapline.domain.ids import ExternalId
from zapline.evolution.webhooks.json_fields import JsonObject, obj, optional_id
from zapline.evolution.webhooks.message_content import UnwrappedBody

_ALBUM = frozenset({1, "MEDIA_ALBUM"})
_BETTER_COPIES = {
    5: 2,
    "HD_VIDEO_DUAL_UPLOAD": 2,
    10: 2,
    "HD_IMAGE_DUAL_UPLOAD": 2,
    19: 1,
    "HEVC_VIDEO_DUAL_UPLOAD": 1,
}
"""Kind of association -> how good the copy is; the first one has 0. HEVC, which not every program plays, is second."""
_BETTER_PAIRED = {2: 2, "HD_VIDEO_CHILD": 2, 4: 2, "HD_IMAGE_CHILD": 2, 8: 1, "HEVC_VIDEO_CHILD": 1}
"""The same by the mark of older apps."""
_PARTS = {
    3: "event_cover",
    "EVENT_COVER_IMAGE": "event_cover",
    7: "poll_option",
    "MEDIA_POLL": "poll_option",
    12: "motion_photo",
    "MOTION_PHOTO": "motion_photo",
}


def association(data: JsonObject, unwrapped: UnwrappedBody) -> JsonObject:
    """The ``messageAssociation``, which stands beside the content, inside of its wrapper, or beside the message."""
    found: JsonObject = {}
    for holder in (unwrapped.holder, data.get("message"), data):
        for name in ("messageContextInfo", "contextInfo"):
            place = obj(obj(holder).get(name)).get("messageAssociation")
            if isinstance(place, dict):
                found = {**{key: value for key, value in place.items() if value is not None}, **found}
    return found


def better_copy(linked: JsonObject, context: JsonObject) -> tuple[ExternalId | None, int]:
    """The id of the message that this one is a better copy of, and how good it is; 0: it is no better copy."""
    kind, paired = linked.get("associationType"), context.get("pairedMediaType")
    quality = _BETTER_COPIES.get(kind, 0) if type(kind) in (int, str) else 0
    if quality == 0 and isinstance(kind, str) and kind.endswith("_DUAL_UPLOAD"):
        quality = 1
    if quality == 0 and kind in (None, 0, "UNKNOWN") and type(paired) in (int, str):
        quality = _BETTER_PAIRED.get(paired, 0)
    parent = optional_id(obj(linked.get("parentMessageKey")).get("id"))
    if parent is None and quality:
        parent = optional_id(context.get("stanzaId"))
    return parent, quality if parent is not None else 0


def part_detail(linked: JsonObject) -> dict[str, object]:
    """Of what a message is a part: an album, an event's cover, a poll's option, a motion photo."""
    parent = optional_id(obj(linked.get("parentMessageKey")).get("id"))
    kind = linked.get("associationType")
    if parent is None:
        return {}
    if kind is None or type(kind) not in (int, str) or kind in _ALBUM:
        return {"album": parent}
    part = _PARTS.get(kind)
    return {"part_of": {"message": parent, "as": part}} if part is not None else {"part_of": {"message": parent}}
