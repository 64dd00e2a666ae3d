"""Dead letters: what could not be used, why, its body for who may see it, and what becomes of it."""

from base64 import b64encode
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.ids import UnitId
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import Answer, Body, Moment, read_body, reply
from zapline.http.api.framework.paging import BIGINT, PAGED, Page, Position, Seq, cursor, encode, limit
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.routes import Access, Doc, Query, Routes
from zapline.sql.conversations import conversations
from zapline.sql.inbound.dead_letters import Letter
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.unit_commands import Submit, UnknownDeadLetter


class _After(Position, frozen=True, tag="d"):
    id: Seq


class LetterBody(Answer, frozen=True):
    """A dead letter, without its body: bodies are people's messages."""

    id: int
    unit_id: UUID
    reason: Annotated[str, Meta(description="Why it could not be used, for programs.")]
    detail: str | None
    event: Annotated[str | None, Meta(description="The event as Evolution named it.")]
    size: Annotated[int, Meta(description="Bytes of its body.")]
    replayable: Annotated[bool, Meta(description="Whether its body was kept.")]
    received_at: Moment | None
    created_at: Moment | None
    replayed_at: Moment | None
    given_up_at: Annotated[Moment | None, Meta(description="When a person decided to leave it alone.")]


class LetterPage(Page[LetterBody], frozen=True):
    """Dead letters, the newest first."""


class RawLetter(LetterBody, frozen=True):
    """A dead letter with its body: `text` where it is UTF-8, else `base64`; both null where it was not kept."""

    text: str | None = None
    base64: str | None = None


class Replayed(Answer, frozen=True):
    """A letter was given to its unit again."""

    id: int
    replayed: bool


class GivenUp(Answer, frozen=True):
    """A letter is left alone."""

    id: int
    given_up: bool


_UNIT = Query("unitId", UUID, "Only those of this unit.")
_UNKNOWN = {"dead_letter_not_found": 404}
_NOT_AGAIN = {**_UNKNOWN, "not_replayable": 409, "unit_not_ready": 503}
_LIST = Doc("Dead letters of all units", {200: LetterPage}, query=(*PAGED, _UNIT))
_REPLAY = Doc("Give a dead letter to its unit again", {202: Replayed}, body=Body, errors=_NOT_AGAIN)
_OF_UNIT = Doc("A unit's dead letters", {200: LetterPage}, query=PAGED)
_SHOW = Doc("A dead letter with its body", {200: RawLetter}, errors=_UNKNOWN)
_GIVE_UP = Doc("Leave a dead letter alone; it is kept like the others", {200: GivenUp}, body=Body, errors=_UNKNOWN)


class DeadLetters:
    """``/dead-letters`` for administrators, ``/units/{unit}/dead-letters`` for who may see and change that unit."""

    def __init__(self, submit: Submit, pool: Pool) -> None:
        self._submit = submit
        self._pool = pool

    def attach(self, routes: Routes) -> None:
        every, one = "/dead-letters", "/units/<uuid:unit>/dead-letters"
        routes.add("GET", every, "list_dead_letters", self.list, Access.ADMIN, _LIST)
        routes.add("POST", f"{every}/<int:letter>/replay", "replay_dead_letter", self.replay, Access.ADMIN, _REPLAY)
        routes.add("GET", one, "list_unit_dead_letters", self.list_of, Access.READ, _OF_UNIT)
        one = f"{one}/<int:letter>"
        routes.add("GET", one, "get_dead_letter", self.show, Access.CONTROL, _SHOW)
        routes.add("POST", f"{one}/replay", "replay_unit_dead_letter", self.replay_of, Access.CONTROL, _REPLAY)
        routes.add("POST", f"{one}/give-up", "give_up_dead_letter", self.give_up, Access.CONTROL, _GIVE_UP)

    async def list(self) -> Response:
        """Newest first; of one unit where ``unitId`` is given."""
        most, after = limit(), cursor(_After)
        found = await conversations.letters(self._pool, _unit_asked(), after.id if after else None, most + 1)
        return reply(_page(found, most))

    async def list_of(self, unit: UUID) -> Response:
        most, after = limit(), cursor(_After)
        id = self._submit.find(UnitId(unit)).id
        return reply(
            _page(await conversations.unit_letters(self._pool, id, after.id if after else None, most + 1), most)
        )

    async def show(self, unit: UUID, letter: int) -> Response:
        found = await conversations.letter(self._pool, self._submit.find(UnitId(unit)).id, _known(letter))
        if found is None:
            raise UnknownDeadLetter("there is no such dead letter")
        return reply(_raw(found))

    async def replay(self, letter: int) -> Response:
        await read_body(Body)
        await self._submit.replay_dead_letter(_known(letter))
        return reply(Replayed(letter, True), 202)

    async def replay_of(self, unit: UUID, letter: int) -> Response:
        await read_body(Body)
        await self._submit.replay_dead_letter(_known(letter), self._submit.find(UnitId(unit)).id)
        return reply(Replayed(letter, True), 202)

    async def give_up(self, unit: UUID, letter: int) -> Response:
        await read_body(Body)
        await self._submit.give_up_dead_letter(UnitId(unit), _known(letter))
        return reply(GivenUp(letter, True))


def _known(letter: int) -> int:
    """Raises UnknownDeadLetter for a number that no letter can have."""
    if letter > BIGINT:
        raise UnknownDeadLetter("there is no such dead letter")
    return letter


def _unit_asked() -> UnitId | None:
    text = request.args.get("unitId")
    if text is None:
        return None
    try:
        return UnitId(UUID(text))
    except ValueError:
        raise invalid("unitId", "is a unit's id") from None


def _page(found: list[Letter], most: int) -> LetterPage:
    page = found[:most]
    return LetterPage([_letter(letter) for letter in page], encode(_After(page[-1].id)) if len(found) > most else None)


def _letter(letter: Letter) -> LetterBody:
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


def _raw(letter: Letter) -> RawLetter:
    text = encoded = None
    if letter.raw is not None:
        try:
            text = letter.raw.decode()
        except UnicodeDecodeError:
            encoded = b64encode(letter.raw).decode()
    shown = _letter(letter)
    known = {name: getattr(shown, name) for name in LetterBody.__struct_fields__}
    return RawLetter(**known, text=text, base64=encoded)
