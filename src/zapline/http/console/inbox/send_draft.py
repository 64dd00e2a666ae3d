"""The draft of a form that sends: its key, its text, and its file, which is stored once."""

import secrets
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Self
from uuid import UUID, uuid5

from zapline.domain.ids import UnitId
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File, Text
from zapline.domain.text import clean_text
from zapline.http.api.framework.problems import Problem
from zapline.http.api.messages.message_requests import MIMETYPE
from zapline.http.console.framework.forms import Form, UploadedFile
from zapline.supervisors.outbound.message_composition import InvalidMessage
from zapline.supervisors.outbound.submission import Submissions

MAX_TEXT = 65_536
_KEY_PREFIX = "console:"
_FILE_KINDS = {"image": MessageKind.IMAGE, "video": MessageKind.VIDEO, "audio": MessageKind.AUDIO}
_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})
"""What WhatsApp accepts as a picture; any other image is sent as a document."""


@dataclass(frozen=True, slots=True)
class SendDraft:
    """The fields of the form. ``key`` is the id under which it is sent once, ``upload`` that of its stored file."""

    key: str
    text: str = ""
    error: str = ""
    upload: str = ""
    file_name: str = ""
    file_type: str = ""
    voice: str = ""
    """"1" where the file was recorded, and is sent as a voice note."""
    reply_to: str = ""
    """Our id of the message that is answered."""
    answered: str = ""
    """That message on one line."""

    @classmethod
    def fresh(cls) -> Self:
        """An empty draft with a key of its own."""
        return cls(_KEY_PREFIX + secrets.token_urlsafe(18))

    @classmethod
    def read(cls, form: Form, **more: str) -> Self:
        """The draft of a form. Raises Problem 422 if the console did not make its key."""
        key = form.text("key", 64)
        if not key.startswith(_KEY_PREFIX):
            raise Problem(422, "invalid_request", "the form is not one of this page; open it again")
        text = clean_text(form.fields.get("text", "").replace("\r\n", "\n")).strip()
        upload = [
            form.text(name, length)
            for name, length in (("upload", 64), ("file_name", 255), ("file_type", 150), ("voice", 1), ("reply_to", 64))
        ]
        return cls(key, text, "", *upload, **more)

    async def store_file(self, submissions: Submissions, unit: UnitId, file: UploadedFile) -> Self:
        """Store the file, so that the form carries it only once; the same file of the same form is one upload."""
        content, name, mimetype = file.content, safe_file_name(file.name), _media_type(file.mimetype)
        id = uuid5(unit, self.key + sha256(content).hexdigest())
        await submissions.store_upload(unit, mimetype, name, content, id)
        return replace(self, upload=str(id), file_name=name, file_type=mimetype)

    def content(self) -> Text | File:
        """What is sent. Raises InvalidMessage."""
        if not self.upload:
            return Text(self.text)
        kind = MessageKind.VOICE if self.voice else _file_kind(_media_type(self.file_type))
        if kind in (MessageKind.AUDIO, MessageKind.VOICE) and self.text:
            raise InvalidMessage("text", "WhatsApp shows no text with a sound; send one after the other")
        try:
            upload = UUID(self.upload)
        except ValueError:
            raise InvalidMessage("file", "the unit has no such upload") from None
        return File(kind=kind, upload=upload, caption=self.text or None)

    def replied(self) -> UUID | None:
        """The message that is answered, if any. Raises InvalidMessage."""
        if not self.reply_to:
            return None
        try:
            return UUID(self.reply_to)
        except ValueError:
            raise InvalidMessage("replyTo", "the unit has no such message", "target_not_found") from None


def safe_file_name(name: str) -> str:
    """The name of a file without a path, and without characters that change how the text around it is shown."""
    bare = clean_text(name).replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in bare if letter.isprintable()).strip(" .")[:200] or "file"


def _media_type(text: str) -> str:
    """A media type; that of plain bytes if ``text`` is none."""
    mimetype = text.partition(";")[0].strip().lower()
    return mimetype if MIMETYPE.fullmatch(mimetype) is not None else "application/octet-stream"


def _file_kind(mimetype: str) -> MessageKind:
    """The kind of message that a file of this type is sent as."""
    family = mimetype.partition("/")[0]
    if family == "image" and mimetype not in _IMAGE_TYPES:
        return MessageKind.DOCUMENT
    return _FILE_KINDS.get(family, MessageKind.DOCUMENT)
