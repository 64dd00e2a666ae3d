"""Route of a message's file: fetched from WhatsApp on demand, streamed, always as a download."""

import re
from types import TracebackType
from typing import Self
from urllib.parse import quote
from uuid import UUID

from quart import Response
from quart.wrappers.response import ResponseBody

from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.messages.facts import MessageKind
from zapline.evolution.client.failures import InvalidRequest, MediaGone
from zapline.http.api.framework.problems import Problem
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.sql.conversations import conversations
from zapline.sql.conversations.conversations import Message
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.media_cache import MediaFetcher, OpenFile
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.submission import UnknownMessage
from zapline.supervisors.units.unit_commands import UnitCommands

_KINDS_WITH_FILE = frozenset(map(MessageKind, ("image", "video", "audio", "voice", "document", "sticker")))
_EXTENSIONS = {
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
"""Types that browsers do not run, with their file name extension. All other types are served as plain bytes."""
_DEFAULT_TYPE = "application/octet-stream"
_UNSAFE_CHARACTERS = re.compile(r'[\x00-\x1f\x7f"\\/;:<>|?*%]')
_MAX_NAME = 150
_MAX_EXTENSION = 10


_GET = RouteDoc(
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


class MediaRoutes:
    """``/units/{id}/messages/{messageId}/media``."""

    def __init__(self, commands: UnitCommands, media: MediaFetcher, pool: Pool) -> None:
        self._commands = commands
        self._media = media
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        path = "/units/<uuid:unit>/messages/<uuid:message>/media"
        routes.add("GET", path, "get_media", self.get, Access.READ, _GET)

    async def get(self, unit: UUID, message: UUID) -> Response:
        """404 with the reason if there is no file."""
        record = self._commands.find(UnitId(unit))
        stored = await conversations.find_message(self._pool, record.id, message)
        if stored is None:
            raise UnknownMessage("the unit has no such message")
        try:
            file = await open_media(self._media, record, stored.message)
        except MediaGone:
            raise Problem(404, "media_gone", "neither Evolution nor WhatsApp has this file any more") from None
        mimetype = (file.mimetype or "").partition(";")[0].strip().lower()
        response = Response(_FileBody(file), content_type=mimetype if mimetype in _EXTENSIONS else _DEFAULT_TYPE)
        response.headers["Content-Length"] = str(file.size)
        media = stored.message.media or {}
        file_name = media.get("fileName") or file.file_name
        name = file_name if isinstance(file_name, str) else f"{stored.message.kind}{_EXTENSIONS.get(mimetype, '')}"
        response.headers["Content-Disposition"] = attachment_header(name)
        response.timeout = None  # the server closes connections whose client does not read
        return response


def external_id_of(message: Message) -> ExternalId:
    """WhatsApp's id of a message with a file. Raises Problem 404 with the reason if there is none."""
    if message.deleted_at is not None:
        raise Problem(404, "media_gone", "the message was deleted")
    if message.kind not in _KINDS_WITH_FILE:
        raise Problem(404, "no_media", "the message has no file")
    if message.external_id is None:
        raise Problem(404, "media_not_sent", "the message has not been sent yet")
    return ExternalId(message.external_id)


async def open_media(media: MediaFetcher, unit: Unit, message: Message) -> OpenFile:
    """The best copy of a message's file that can be had; the caller closes it.

    Raises Problem 404 if there is none, and what ``MediaFetcher.open`` raises.
    """
    own = external_id_of(message)
    better = (message.media or {}).get("copyId")
    if isinstance(better, str):
        try:
            return await media.open(unit, ExternalId(better))
        except (MediaGone, InvalidRequest):
            pass  # the server has not kept the copy, or cannot open it
    return await media.open(unit, own)


def attachment_header(name: str) -> str:
    """A Content-Disposition header (RFC 6266) that forces a download; ``name`` is untrusted."""
    safe = _UNSAFE_CHARACTERS.sub(
        "_", "".join(character if character.isprintable() else "_" for character in name)
    ).strip(" .")
    stem, _, extension = safe.rpartition(".")
    suffix_length = len(extension) + 1 if stem and len(extension) <= _MAX_EXTENSION else 0
    file_name = (
        safe if len(safe) <= _MAX_NAME else safe[: _MAX_NAME - suffix_length] + safe[len(safe) - suffix_length :]
    )
    file_name = file_name or "file"
    ascii_name = file_name.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(file_name, safe='')}"


class _FileBody(ResponseBody):
    """A response body that streams a file; the file is closed whatever happens to the response."""

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
        chunk = await self._file.read()
        if not chunk:
            raise StopAsyncIteration
        return chunk
