"""Takes what is typed into a conversation's box and hands it on to be sent, once, however often the form comes."""

import re
import secrets
from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import UUID, uuid5

from zapline.domain.errors import DatabaseUnavailable, LocalError
from zapline.domain.ids import UnitId
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File, Text
from zapline.domain.text import clean_text
from zapline.http.api.framework.problems import Problem
from zapline.http.api.messages.message_requests import MIMETYPE
from zapline.http.console.framework.forms import UploadedFile as Given
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.translation import N_, _
from zapline.supervisors.outbound.message_composition import InvalidMessage, SendRequest
from zapline.supervisors.outbound.submission import ClientIdTaken, Submissions

LONGEST = 65_536
_KINDS = {"image": MessageKind.IMAGE, "video": MessageKind.VIDEO, "audio": MessageKind.AUDIO}
_SHOWN_IMAGES = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})
"""What WhatsApp takes as a picture; any other image is sent as a document."""
REPLY_PATH = re.compile(r"/console/units/[^/]+/conversations/[^/]+/reply")
"""Where a file may come with the form."""
KEY_PREFIX = "console:"
_LONGEST_ID = 64
_LATER = N_("It could not be stored: the database is away. Nothing was sent; send it again in a moment.")


@dataclass(frozen=True, slots=True)
class ReplyDraft:
    """What stands in the box. ``key``: the id under which it is sent once; ``upload``: a file that is stored."""

    key: str
    text: str = ""
    error: str = ""
    upload: str = ""
    file_name: str = ""
    file_type: str = ""

    @classmethod
    def fresh(cls) -> "ReplyDraft":
        return cls(KEY_PREFIX + secrets.token_urlsafe(18))


class ReplyForm:
    """Reads the box's form. Every form carries an id made by the server, so a double submit is one message."""

    def __init__(self, layout: Layout, outgoing: Submissions) -> None:
        self._layout = layout
        self._outgoing = outgoing

    async def send(self, unit: UnitId, conversation: UUID) -> ReplyDraft:
        """A fresh draft once it is stored, else the same one with what is wrong."""
        form = await read_form()
        key = form.text("key", _LONGEST_ID)
        if not key.startswith(KEY_PREFIX):
            raise Problem(422, "invalid_request", "the form is not one of this page; open it again")
        text = clean_text(form.fields.get("text", "").replace("\r\n", "\n")).strip()
        draft = ReplyDraft(
            key, text, "", form.text("upload", 64), form.text("file_name", 255), form.text("file_type", 150)
        )
        if len(text) > LONGEST:
            return replace(draft, error=_("The text is longer than {n} characters.", n=LONGEST))
        given = form.files.get("file")
        if not text and given is None and not draft.upload:
            return replace(draft, error=_("Type a message, or choose a file."))
        try:
            if given is not None:
                draft = await self._keep(unit, draft, given)
            asked = SendRequest(key, content_of(draft), conversation=conversation)
            async with self._layout.audited("send_message", unit, str(conversation)):
                await self._outgoing.send(unit, asked)
        except ClientIdTaken:
            # The first of two tabs, or a text that was changed after it had been sent: what is here was not.
            return replace(
                draft, key=ReplyDraft.fresh().key, error=_("This form was sent before with another text. Send again.")
            )
        except DatabaseUnavailable:
            return replace(draft, error=_(_LATER))
        except InvalidMessage as invalid:
            return replace(draft, error=_(invalid.message).capitalize() + ".")
        except LocalError as error:
            return replace(draft, error=_(str(error)).capitalize() + ".")
        return ReplyDraft.fresh()

    async def _keep(self, unit: UnitId, draft: ReplyDraft, given: Given) -> ReplyDraft:
        """Store the file, so that the form needs it only once; the same file of the same form is one upload."""
        name, mimetype = safe_file_name(given.name), safe_media_type(given.mimetype)
        id = uuid5(unit, draft.key + sha256(given.content).hexdigest())
        await self._outgoing.store_upload(unit, mimetype, name, given.content, id)
        return replace(draft, upload=str(id), file_name=name, file_type=mimetype)


def content_of(draft: ReplyDraft) -> Text | File:
    """What is sent. Raises InvalidMessage."""
    if not draft.upload:
        return Text(draft.text)
    kind = file_kind(safe_media_type(draft.file_type))
    if kind is MessageKind.AUDIO and draft.text:
        raise InvalidMessage("text", "WhatsApp shows no text with a sound; send one after the other")
    try:
        upload = UUID(draft.upload)
    except ValueError:
        raise InvalidMessage("file", "the unit has no such upload") from None
    return File(kind=kind, upload=upload, caption=draft.text or None)


def file_kind(mimetype: str) -> MessageKind:
    """As what a file of this type is sent."""
    family = mimetype.partition("/")[0]
    if family == "image" and mimetype not in _SHOWN_IMAGES:
        return MessageKind.DOCUMENT
    return _KINDS.get(family, MessageKind.DOCUMENT)


def safe_media_type(given: str) -> str:
    """A media type, or that of plain bytes where it is none."""
    mimetype = given.partition(";")[0].strip().lower()
    return mimetype if MIMETYPE.fullmatch(mimetype) is not None else "application/octet-stream"


def safe_file_name(given: str) -> str:
    """The name of a file without what could be a path or turn what stands around it."""
    bare = clean_text(given).replace("\\", "/").rpartition("/")[2]
    bare = "".join(letter for letter in bare if letter.isprintable()).strip(" .")[:200]
    return bare or "file"
