"""Files of messages: as a download, and shown in a page where their own first bytes say that they are harmless."""

from collections.abc import AsyncIterator
from uuid import UUID

from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.api.framework.problems import Problem
from zapline.http.api.messages.media import MediaRoutes, external_id_of
from zapline.http.console.framework.layout import Layout
from zapline.http.console.inbox.message_view import INLINE_AUDIO, INLINE_IMAGES
from zapline.sql.conversations import conversations
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.media_cache import MediaFetcher, OpenFile
from zapline.supervisors.outbound.submission import UnknownMessage
from zapline.supervisors.units.unit_commands import UnitCommands

_SANDBOXED = "default-src 'none'; frame-ancestors 'none'; sandbox"
_MOST = 8_000_000
"""Bytes of a file that is shown in a page; larger ones are downloads."""


class MessageFiles:
    """``/console/units/{unit}/messages/{message}/file`` and ``/shown``."""

    def __init__(self, layout: Layout, commands: UnitCommands, media: MediaFetcher, pool: Pool) -> None:
        self._layout = layout
        self._commands = commands
        self._media = media
        self._pool = pool
        self._downloads = MediaRoutes(commands, media, pool)

    def attach(self) -> None:
        one = "/console/units/<uuid:unit>/messages/<uuid:message>"
        self._layout.get(f"{one}/file", "message_file", self._downloads.get)
        self._layout.get(f"{one}/shown", "message_shown", self.shown)

    async def shown(self, unit: UUID, message: UUID) -> Response:
        """A picture or a sound, by what its bytes are and not by what its sender calls it. 404 for anything else."""
        line = self._commands.find(UnitId(unit))
        found = await conversations.find_message(self._pool, line.id, message)
        if found is None:
            raise UnknownMessage("the unit has no such message")
        kind = found.message.kind
        if kind not in INLINE_IMAGES | INLINE_AUDIO or found.message.view_once:
            raise Problem(404, "no_media", "the message has no file that is shown in a page")
        file = await self._media.open(line, external_id_of(found.message))
        try:
            first = await file.read()
            known = image_type(first) if kind in INLINE_IMAGES else audio_type(first)
            if known is None or file.size > _MOST:
                raise Problem(404, "no_media", "the message has no file that is shown in a page")
        except BaseException:
            file.close()
            raise
        shown = Response(_rest(first, file), content_type=known)
        shown.headers["Content-Length"] = str(file.size)
        shown.headers["Content-Disposition"] = "inline"
        shown.headers["Content-Security-Policy"] = _SANDBOXED
        shown.timeout = None  # the server itself ends what a client does not read
        return shown


async def _rest(first: bytes, file: OpenFile) -> AsyncIterator[bytes]:
    try:
        yield first
        while part := await file.read():
            yield part
    finally:
        file.close()


def image_type(first: bytes) -> str | None:
    """The type of a picture that every browser shows and none runs; by its first bytes."""
    if first.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if first.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if first.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if first[:4] == b"RIFF" and first[8:12] == b"WEBP" else None


def audio_type(first: bytes) -> str | None:
    """The same of sounds."""
    if first.startswith(b"OggS"):
        return "audio/ogg"
    if first.startswith(b"ID3") or (len(first) > 1 and first[0] == 0xFF and first[1] & 0xE6 == 0xE2):
        return "audio/mpeg"
    if first[4:8] == b"ftyp":
        return "audio/mp4"
    if len(first) > 1 and first[0] == 0xFF and first[1] & 0xF6 == 0xF0:
        return "audio/aac"
    return "audio/wav" if first[:4] == b"RIFF" and first[8:12] == b"WAVE" else None
