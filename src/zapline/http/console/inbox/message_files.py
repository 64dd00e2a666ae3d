"""Serves files of messages: as downloads, and inline if their first bytes show that they are harmless."""

from collections.abc import AsyncIterator
from uuid import UUID

from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.api.framework.problems import Problem
from zapline.http.api.messages.media import MediaRoutes, open_media
from zapline.http.console.framework.layout import Layout
from zapline.http.console.inbox.message_view import INLINE_AUDIO, INLINE_IMAGES
from zapline.sql.conversations import conversations
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.files.reading import FileReader
from zapline.supervisors.inbound.media_cache import OpenFile
from zapline.supervisors.outbound.submission import UnknownMessage
from zapline.supervisors.units.unit_commands import UnitCommands

_SANDBOXED = "default-src 'none'; frame-ancestors 'none'; sandbox"
_MAX_INLINE = 8_000_000
"""Bytes; larger files are only downloads."""


class MessageFiles:
    """``/console/units/{unit}/messages/{message}/file`` and ``/shown``."""

    def __init__(self, layout: Layout, commands: UnitCommands, media: FileReader, pool: Pool) -> None:
        self._layout = layout
        self._commands = commands
        self._media = media
        self._pool = pool
        self._downloads = MediaRoutes(commands, media, pool)

    def attach(self) -> None:
        path = "/console/units/<uuid:unit>/messages/<uuid:message>"
        self._layout.get(f"{path}/file", "message_file", self._downloads.get)
        self._layout.get(f"{path}/shown", "message_inline", self.inline)

    async def inline(self, unit: UUID, message: UUID) -> Response:
        """An image or audio, judged by its bytes and not by its declared type. Raises Problem 404 for anything else."""
        line = self._commands.find(UnitId(unit))
        stored = await conversations.find_message(self._pool, line.id, message)
        if stored is None:
            raise UnknownMessage("the unit has no such message")
        kind = stored.message.kind
        if kind not in INLINE_IMAGES | INLINE_AUDIO or stored.message.view_once:
            raise Problem(404, "no_media", "the message has no file that is shown in a page")
        file = await open_media(self._media, line, stored.message)
        try:
            first = await file.read()
            known = image_type(first) if kind in INLINE_IMAGES else audio_type(first)
            if known is None or file.size > _MAX_INLINE:
                raise Problem(404, "no_media", "the message has no file that is shown in a page")
        except BaseException:
            file.close()
            raise
        answer = Response(_rest(first, file), content_type=known)
        answer.headers["Content-Length"] = str(file.size)
        answer.headers["Content-Disposition"] = "inline"
        answer.headers["Content-Security-Policy"] = _SANDBOXED
        answer.timeout = None  # the server itself ends what a client does not read
        return answer


async def _rest(first: bytes, file: OpenFile) -> AsyncIterator[bytes]:
    try:
        yield first
        while part := await file.read():
            yield part
    finally:
        file.close()


def image_type(first: bytes) -> str | None:
    """The type of an image that every browser shows and none executes, by its first bytes; None for others."""
    if first.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if first.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if first.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if first[:4] == b"RIFF" and first[8:12] == b"WEBP" else None


def audio_type(first: bytes) -> str | None:
    """The type of an audio file, by its first bytes; None for others."""
    if first.startswith(b"OggS"):
        return "audio/ogg"
    if first.startswith(b"\x1aE\xdf\xa3"):
        return "audio/webm"
    if first.startswith(b"ID3") or (len(first) > 1 and first[0] == 0xFF and first[1] & 0xE6 == 0xE2):
        return "audio/mpeg"
    if first[4:8] == b"ftyp":
        return "audio/mp4"
    if len(first) > 1 and first[0] == 0xFF and first[1] & 0xF6 == 0xF0:
        return "audio/aac"
    return "audio/wav" if first[:4] == b"RIFF" and first[8:12] == b"WAVE" else None
