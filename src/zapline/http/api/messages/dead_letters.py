"""Routes of dead letters: list, show with the body, replay, give up."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import RequestBody, ResponseBody, Timestamp, json_response, read_body
from zapline.http.api.framework.paging import BIGINT, PAGED, Page, Position, Seq, page_query, query_unit, split_page
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.sql.conversations import conversations
from zapline.sql.health.dead_letters import DeadLetter
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.unit_commands import UnitCommands, UnknownDeadLetter


class _After(Position, frozen=True, tag="d"):
    id: Seq


class LetterBody(ResponseBody, frozen=True):
    """A dead letter, without its body: bodies are people's messages."""

    id: int
    unit_id: UUID
    reason: Annotated[str, Meta(description="Why it could not be used, for programs.")]
    detail: str | None
    event: Annotated[str | None, Meta(description="The event as Evolution named it.")]
    size: Annotated[int, Meta(description="Bytes of its body.")]
    replayable: Annotated[bool, Meta(description="Whether its body was kept.")]
    received_at: Timestamp | None
    created_at: Timestamp | None
    replayed_at: Timestamp | None
    given_up_at: Annotated[Timestamp | None, Meta(description="When a person decided to leave it alone.")]


class LetterPage(Page[LetterBody], frozen=True):
    """Dead letters, the newest first."""


class RawLetter(LetterBody, frozen=True):
    """A dead letter with its body: `text` where it is UTF-8, else `base64`; both null where it was not kept."""

    text: str | None = None
    base64: str | None = None


class Replayed(ResponseBody, frozen=True):
    """A letter was given to its unit again."""

    id: int
    replayed: bool


class GivenUp(ResponseBody, frozen=True):
    """A letter is left alone."""

    id: int
    given_up: bool


_UNIT = QueryParameter("unitId", UUID, "Only those of this unit.")
_NOT_FOUND = {"dead_letter_not_found": 404}
_REPLAY_ERRORS = {**_NOT_FOUND, "not_replayable": 409, "unit_not_ready": 503}
_LIST = RouteDoc("Dead letters of all units", {200: LetterPage}, query=(*PAGED, _UNIT))
_REPLAY = RouteDoc("Give a dead letter to its unit again", {202: Replayed}, body=RequestBody, errors=_REPLAY_ERRORS)
_LIST_OF_UNIT = RouteDoc("A unit's dead letters", {200: LetterPage}, query=PAGED)
_SHOW = RouteDoc("A dead letter with its body", {200: RawLetter}, errors=_NOT_FOUND)
_GIVE_UP = RouteDoc(
    "Leave a dead letter alone; it is kept like the others", {200: GivenUp}, body=RequestBody, errors=_NOT_FOUND
)


class DeadLetterRoutes:
    """``/dead-letters`` for administrators, ``/units/{unit}/dead-letters`` for callers with access to that unit."""

    def __init__(self, commands: UnitCommands, pool: Pool) -> None:
        self._commands = commands
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        all_units, unit = "/dead-letters", "/units/<uuid:unit>/dead-letters"
        routes.add("GET", all_units, "list_dead_letters", self.list, Access.ADMIN, _LIST)
        routes.add("POST", f"{all_units}/<int:letter>/replay", "replay_dead_letter", self.replay, Access.ADMIN, _REPLAY)
        routes.add("GET", unit, "list_unit_dead_letters", self.list_of, Access.INSPECT, _LIST_OF_UNIT)
        unit = f"{unit}/<int:letter>"
        routes.add("GET", unit, "get_dead_letter", self.show, Access.CONTROL, _SHOW)
        routes.add("POST", f"{unit}/replay", "replay_unit_dead_letter", self.replay_of, Access.CONTROL, _REPLAY)
        routes.add("POST", f"{unit}/give-up", "give_up_dead_letter", self.give_up, Access.CONTROL, _GIVE_UP)

    async def list(self) -> Response:
        """Newest first; of one unit if ``unitId`` is given."""
        limit, after = page_query(_After)
        letters = await conversations.list_all_dead_letters(
            self._pool, query_unit(), after.id if after else None, limit + 1
        )
        return json_response(_page(letters, limit))

    async def list_of(self, unit: UUID) -> Response:
        id, (limit, after) = self._commands.find(UnitId(unit)).id, page_query(_After)
        letters = await conversations.list_unit_dead_letters(self._pool, id, after.id if after else None, limit + 1)
        return json_response(_page(letters, limit))

    async def show(self, unit: UUID, letter: int) -> Response:
        dead_letter = await conversations.find_dead_letter(
            self._pool, self._commands.find(UnitId(unit)).id, _checked_id(letter)
        )
        if dead_letter is None:
            raise UnknownDeadLetter("there is no such dead letter")
        return json_response(_raw_dead_letter_body(dead_letter))

    async def replay(self, letter: int) -> Response:
        await read_body(RequestBody)
        await self._commands.replay_dead_letter(_checked_id(letter))
        return json_response(Replayed(letter, True), 202)

    async def replay_of(self, unit: UUID, letter: int) -> Response:
        await read_body(RequestBody)
        await self._commands.replay_dead_letter(_checked_id(letter), self._commands.find(UnitId(unit)).id)
        return json_response(Replayed(letter, True), 202)

    async def give_up(self, unit: UUID, letter: int) -> Response:
        await read_body(RequestBody)
        await self._commands.give_up_dead_letter(UnitId(unit), _checked_id(letter))
        return json_response(GivenUp(letter, True))


def _checked_id(letter: int) -> int:
    """The id. Raises UnknownDeadLetter if it is out of range for an id."""
    if letter > BIGINT:
        raise UnknownDeadLetter("there is no such dead letter")
    return letter


def _page(letters: Sequence[DeadLetter], limit: int) -> LetterPage:
    page, next_cursor = split_page(letters, limit, lambda letter: _After(letter.id))
    return LetterPage([_dead_letter_body(letter) for letter in page], next_cursor)


def _dead_letter_body(letter: DeadLetter) -> LetterBody:
    return LetterBody(
        id=letter.id,
        unit_id=letter.unit_id,
        reason=letter.reason,
        detail=letter.detail,
        event=letter.event,
        size=letter.size,
        replayable=letter.has_raw,
        received_at=iso(letter.received_at),
        created_at=iso(letter.created_at),
        replayed_at=iso(letter.revived_at),
        given_up_at=iso(letter.given_up_at),
    )


def _raw_dead_letter_body(letter: DeadLetter) -> RawLetter:
    text = encoded = None
    if letter.raw is not None:
        try:
            text = letter.raw.decode()
        except UnicodeDecodeError:
            encoded = b64encode(letter.raw).decode()
    body = _dead_letter_body(letter)
    fields = {name: getattr(body, name) for name in LetterBody.__struct_fields__}
    return RawLetter(**fields, text=text, base64=encoded)
