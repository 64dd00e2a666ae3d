"""Files of messages, brought from WhatsApp on demand: streamed, never shown by the browser itself."""

import re
from types import TracebackType
from typing import Self
from urllib.parse import quote
from uuid import UUID

from quart import Response
from quart.wrappers.response import ResponseBody

from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.messages.events import Kind
from zapline.evolution.client.failures import MediaGone
from zapline.http.api.framework.problems import Problem
from zapline.http.api.framework.routes import Access, Doc, Routes
from zapline.sql.conversations import conversations
from zapline.sql.conversations.conversations import Message
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.media_cache import Media, OpenFile
from zapline.supervisors.outbound.submission import UnknownMessage
from zapline.supervisors.units.unit_commands import Submit

_WITH_FILES = frozenset({Kind.IMAGE, Kind.VIDEO, Kind.AUDIO, Kind.VOICE, Kind.DOCUMENT, Kind.STICKER})
_ENDINGS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "audio/ogg": ".ogg",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/aac": ".aac",
    "audio/amr": ".amr",
    "audio/wav": ".wav",
    "video/mp4": ".mp4",
    "video/3gpp": ".3gp",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "text/csv": ".csv",
    "text/plain": ".txt",
}
"""Types that no browser runs as a program, with the ending of a file that has no name. All others are plain bytes."""
_PLAIN_BYTES = "application/octet-stream"
_UNSAFE = re.compile(r'[\x00-\x1f\x7f"\\/;:<>|?*%]')
_LONGEST_NAME = 150
_LONGEST_ENDING = 10


_GET = Doc(
    "A message's file",
    {200: "*/*"},
    errors={
        **dict.fromkeys(("message_not_found", "no_media", "media_gone", "media_not_sent"), 404),
        "evolution_failed": 502,
        "media_busy": 503,
    },
    detail="Brought from WhatsApp when asked for, so it may take seconds. Always a download, never shown by a browser.",
    headers={"Content-Disposition": "The file's name.", "Content-Length": "Its size in bytes."},
)


class MediaFiles:
    """``/units/{id}/messages/{messageId}/media``."""

    def __init__(self, submit: Submit, media: Media, pool: Pool) -> None:
        self._submit = submit
        self._media = media
        self._pool = pool

    def attach(self, routes: Routes) -> None:
        path = "/units/<uuid:unit>/messages/<uuid:message>/media"
        routes.add("GET", path, "get_media", self.get, Access.READ, _GET)

    async def get(self, unit: UUID, message: UUID) -> Response:
        """404 where there is no file to be had, with the reason."""
        line = self._submit.find(UnitId(unit))
        found = await conversations.message(self._pool, line.id, message)
        if found is None:
            raise UnknownMessage("the unit has no such message")
        external_id = external_id_of(found.message)
        try:
            file = await self._media.open(line, external_id)
        except MediaGone:
            raise Problem(404, "media_gone", "neither Evolution nor WhatsApp has this file any more") from None
        mimetype = (file.mimetype or "").partition(";")[0].strip().lower()
        answer = Response(_Streamed(file), content_type=mimetype if mimetype in _ENDINGS else _PLAIN_BYTES)
        answer.headers["Content-Length"] = str(file.size)
        own = found.message.media or {}
        given = own.get("fileName") or file.file_name
        name = given if isinstance(given, str) else f"{found.message.kind}{_ENDINGS.get(mimetype, '')}"
        answer.headers["Content-Disposition"] = disposition(name)
        answer.timeout = None  # the server itself ends what a client does not read
        return answer


def external_id_of(message: Message) -> ExternalId:
    """WhatsApp's id of a message that has a file. Raises Problem 404 with the reason where it has none."""
    if message.deleted_at is not None:
        raise Problem(404, "media_gone", "the message was deleted")
    if message.kind not in _WITH_FILES:
        raise Problem(404, "no_media", "the message has no file")
    if message.external_id is None:
        raise Problem(404, "media_not_sent", "the message has not been sent yet")
    return ExternalId(message.external_id)


def disposition(name: str) -> str:
    """A Content-Disposition header (RFC 6266) that makes a download of it, whatever a stranger called the file."""
    bare = _UNSAFE.sub("_", "".join(letter if letter.isprintable() else "_" for letter in name)).strip(" .")
    stem, _, ending = bare.rpartition(".")
    keep = len(ending) + 1 if stem and len(ending) <= _LONGEST_ENDING else 0
    whole = bare if len(bare) <= _LONGEST_NAME else bare[: _LONGEST_NAME - keep] + bare[len(bare) - keep :]
    whole = whole or "file"
    plain = whole.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(whole, safe='')}"


class _Streamed(ResponseBody):
    """A response's body out of a file, a part at a time; closed whatever becomes of the response."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        part = await self._file.read()
        if not part:
            raise StopAsyncIteration
        return part
