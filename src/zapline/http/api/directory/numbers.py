"""Route that says which numbers are on WhatsApp, and under which id."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.ids import UnitId
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import RequestBody, ResponseBody, Timestamp, json_response, read_body
from zapline.http.api.framework.problems import Problem, ProblemType, ProblemTypes
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.sql.directory.number_checks import NumberCheck
from zapline.supervisors.directory.lookups import LineNotConnected, LookupsHeld
from zapline.supervisors.directory.number_checks import MAX_NUMBERS, NumberChecks
from zapline.supervisors.units.unit_commands import UnitCommands

PROBLEMS: ProblemTypes = {LineNotConnected: ProblemType(409, "line_not_connected")}


class NumbersToCheck(RequestBody, frozen=True):
    """Up to 50 numbers."""

    numbers: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=80)], ...],
        Meta(min_length=1, max_length=MAX_NUMBERS, description="Phones in any usual form."),
    ]


class NumberBody(ResponseBody, frozen=True):
    """A number that was asked about."""

    number: Annotated[str, Meta(description="As it was asked about.")]
    phone: Annotated[str | None, Meta(description="As Zapline writes it; null: it is no phone.")]
    on_whatsapp: Annotated[bool | None, Meta(description="Null: it is no phone, so nobody was asked.")]
    whatsapp_id: Annotated[
        str | None,
        Meta(
            description="WhatsApp's own id of it. Its digits may be others than the number's: many Brazilian mobiles "
            "are known there without their ninth digit."
        ),
    ]
    checked_at: Annotated[Timestamp | None, Meta(description="When WhatsApp said so.")]
    error: Annotated[str | None, Meta(description="Why it is no phone, in words.")]


class NumbersBody(ResponseBody, frozen=True):
    """What is known of the numbers, in the order in which they were asked about."""

    items: Sequence[NumberBody]


_CHECK = RouteDoc(
    "Which numbers are on WhatsApp, and under which id",
    {200: NumbersBody},
    body=NumbersToCheck,
    errors={"line_not_connected": 409, "lookups_held": 429, "evolution_failed": 502},
    example={"numbers": ["(11) 99999-0001", "+55 31 98888-0002"]},
    detail="""\
WhatsApp bans lines that look up many numbers. So an answer is kept, for a week where the number is there and for six
hours where it is not; what is not known is asked for at a slow pace and at most so many times a day
(`ZAPLINE_NUMBER_CHECKS_PER_DAY`). A request that would go beyond that asks for nothing and is refused with 429, which
says in `Retry-After` when it may be repeated. What has been answered is not asked for again.

That a number is not there is WhatsApp's word of that moment, not proof.""",
)


class NumberRoutes:
    """``/units/{id}/numbers/check``."""

    def __init__(self, commands: UnitCommands, checks: NumberChecks, region: str) -> None:
        self._commands = commands
        self._checks = checks
        self._region = region

    def attach(self, routes: RouteTable) -> None:
        path = "/units/<uuid:unit>/numbers/check"
        routes.add("POST", path, "check_numbers", self.check, Access.SEND, _CHECK, audited=False)

    async def check(self, unit: UUID) -> Response:
        """What is no phone is told beside the others, as people paste lists."""
        body, found = await read_body(NumbersToCheck), self._commands.find(UnitId(unit))
        read = [self._parse(number) for number in body.numbers]
        phones = {phone for phone, _ in read if phone is not None}
        try:
            known = await self._checks.check(found, phones)
        except LookupsHeld as held:
            raise held_problem(held) from held
        items = [
            _number_body(number, phone, error, known.get(phone) if phone is not None else None)
            for number, (phone, error) in zip(body.numbers, read, strict=True)
        ]
        return json_response(NumbersBody(items))

    def _parse(self, number: str) -> tuple[str | None, str | None]:
        try:
            return parse_phone(number, self._region), None
        except InvalidPhone as invalid:
            return None, str(invalid.sentence)


def held_problem(held: LookupsHeld) -> Problem:
    """The problem by which a caller is told to come again."""
    return Problem(429, "lookups_held", held.sentence, retryable=True, retry_after=held.wait)


def _number_body(number: str, phone: str | None, error: str | None, check: NumberCheck | None) -> NumberBody:
    if check is None:
        return NumberBody(number, phone, None, None, None, error)
    return NumberBody(number, phone, check.on_whatsapp, check.whatsapp_id, iso(check.checked_at), None)
