"""Routes of a message's file: the kept one, else fetched from WhatsApp on demand; with a token, or by a signed link."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.messages.facts import MessageKind
from zapline.domain.timestamps import iso
from zapline.evolution.client.failures import InvalidRequest, MediaGone
from zapline.http.api.framework.json_bodies import ResponseBody, Timestamp, json_response
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.http.api.messages.file_answers import HEADERS, file_response
from zapline.sql.conversations import conversations
from zapline.sql.conversations.conversations import Message
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.files.reading import LONGEST_LINK, FileReader
from zapline.supervisors.inbound.media_cache import OpenFile
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.submission import UnknownMessage
from zapline.supervisors.units.unit_commands import UnitCommands, UnknownUnit

_KINDS_WITH_FILE = frozenset(map(MessageKind, ("image", "video", "audio", "voice", "document", "sticker")))
_DEFAULT_SECONDS = 300


class FileLinkBody(ResponseBody, frozen=True):
    """A link by which a message's file is read without a token."""

    path: Annotated[str, Meta(description="Where the file is, on the address at which you have asked.")]
    expires_at: Timestamp | None


_ERRORS = {
    **dict.fromkeys(("message_not_found", "no_media", "media_gone", "media_not_sent"), 404),
    "evolution_failed": 502,
    "media_busy": 503,
    "range_not_satisfiable": 416,
}
_GET = RouteDoc(
    "A message's file",
    {200: "*/*", 206: "*/*"},
    errors=_ERRORS,
    detail="Brought from WhatsApp when asked for, so it may take seconds, unless the unit keeps it (`.../files`). "
    "Always a download, never shown by a browser. A range of bytes can be asked for.",
    headers=HEADERS,
)
_LINK = RouteDoc(
    "A link to a message's file",
    {200: FileLinkBody},
    query=(
        QueryParameter(
            "seconds", Annotated[int, Meta(ge=1, le=LONGEST_LINK)], "For how long it holds; 300 by default."
        ),
    ),
    errors={"message_not_found": 404, "no_media": 404, "media_gone": 404, "media_not_sent": 404},
    detail="For whoever has no token, as a browser or a service that reads the file once. It cannot be revoked, but it "
    "leads nowhere once the message is deleted or erased, or the unit archived.",
)
_BY_LINK = RouteDoc(
    "A message's file, by a link",
    {200: "*/*", 206: "*/*"},
    errors={**_ERRORS, "link_invalid": 404},
    detail="As `.../media`, without a token.",
    headers=HEADERS,
)


class MediaRoutes:
    """``/units/{id}/messages/{messageId}/media``, ``.../media/link``, and ``/files/{link}``."""

    def __init__(self, commands: UnitCommands, files: FileReader, pool: Pool) -> None:
        self._commands = commands
        self._files = files
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        path = "/units/<uuid:unit>/messages/<uuid:message>/media"
        routes.add("GET", path, "get_media", self.get, Access.READ, _GET)
        routes.add("GET", f"{path}/link", "link_media", self.link, Access.READ, _LINK)
        routes.add("GET", "/files/<link>", "get_file", self.get_by_link, Access.OPEN, _BY_LINK)

    async def get(self, unit: UUID, message: UUID) -> Response:
        """404 with the reason if there is no file."""
        record = self._commands.find(UnitId(unit))
        stored = await self._find(record.id, message)
        try:
            file = await open_media(self._files, record, stored)
        except MediaGone:
            raise Problem(404, "media_gone", "neither Evolution nor WhatsApp has this file any more") from None
        return await file_response(file, stored)

    async def link(self, unit: UUID, message: UUID) -> Response:
        """A link is given for messages that have a file, whether or not it can still be had."""
        found = self._commands.find(UnitId(unit)).id
        external_id_of(await self._find(found, message))
        link, expires_at = self._files.link(found, message, _seconds())
        return json_response(FileLinkBody(f"/files/{link}", iso(float(expires_at))))

    async def get_by_link(self, link: str) -> Response:
        """404 for a link that is none, or holds no longer, and where there is nothing behind it any more."""
        claim = self._files.read_link(link)
        if claim is None:
            raise Problem(404, "link_invalid", "this link leads nowhere, or no longer")
        try:
            return await self.get(*claim)
        except (UnknownUnit, UnknownMessage):
            raise Problem(404, "link_invalid", "this link leads nowhere, or no longer") from None

    async def _find(self, unit: UnitId, message: UUID) -> Message:
        stored = await conversations.find_message(self._pool, unit, message)
        if stored is None:
            raise UnknownMessage("the unit has no such message")
        return stored.message


def _seconds() -> int:
    text = request.args.get("seconds", str(_DEFAULT_SECONDS))
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 1 <= seconds <= LONGEST_LINK:
        raise invalid("seconds", f"is a number from 1 to {LONGEST_LINK}")
    return seconds


def external_id_of(message: Message) -> ExternalId:
    """WhatsApp's id of a message with a file. Raises Problem 404 with the reason if there is none."""
    if message.deleted_at is not None:
        raise Problem(404, "media_gone", "the message was deleted")
    if message.kind not in _KINDS_WITH_FILE:
        raise Problem(404, "no_media", "the message has no file")
    if message.external_id is None:
        raise Problem(404, "media_not_sent", "the message has not been sent yet")
    return ExternalId(message.external_id)


async def open_media(files: FileReader, unit: Unit, message: Message) -> OpenFile:
    """The best copy of a message's file that can be had; the caller closes it.

    Raises Problem 404 if there is none, and what ``FileReader`` raises.
    """
    own = external_id_of(message)
    if (kept := await files.open_kept(unit.id, message.id)) is not None:
        return kept
    better = (message.media or {}).get("copyId")
    if isinstance(better, str):
        try:
            return await files.fetch(unit, ExternalId(better))
        except (MediaGone, InvalidRequest):
            pass  # the server has not kept the copy, or cannot open it
    return await files.fetch(unit, own)
