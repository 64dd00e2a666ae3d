"""Routes of the people whom a unit knows, and of their pictures."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.ids import UnitId
from zapline.domain.timestamps import iso
from zapline.http.api.directory.numbers import held_problem
from zapline.http.api.framework.json_bodies import ResponseBody, Timestamp, body_from, json_response
from zapline.http.api.framework.paging import PAGED, PHONE, Page, Position, page_query, query_phone, split_page
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.sql.directory import contacts as stored
from zapline.sql.directory.contacts import Contact
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.directory.contact_pictures import ContactPictures
from zapline.supervisors.directory.lookups import LookupsHeld
from zapline.supervisors.units.unit_commands import UnitCommands

MAX_SEARCH = 100


class _After(Position, frozen=True, tag="k"):
    canonical: Annotated[str, Meta(max_length=128)]


class ContactBody(ResponseBody, frozen=True):
    """A person whom the unit knows, under all addresses that are known to be the same person's."""

    id: UUID
    phone: str | None
    lid: Annotated[str | None, Meta(description="WhatsApp's id of a person who hides the phone.")]
    name: Annotated[str | None, Meta(description="What the person was called last.")]
    username: Annotated[str | None, Meta(description="WhatsApp's name of a person, without its `@`.")]
    conversation_id: UUID | None
    last_message_at: Timestamp | None
    known_since: Timestamp | None


class ContactPage(Page[ContactBody], frozen=True):
    """Contacts, in the order of their phones."""


class PictureBody(ResponseBody, frozen=True):
    """Where WhatsApp has a person's picture."""

    url: Annotated[str | None, Meta(description="Good for some days. Null: WhatsApp shows the line none.")]
    asked_at: Annotated[Timestamp | None, Meta(description="When WhatsApp was asked.")]


SEARCH = QueryParameter(
    "search",
    Annotated[str, Meta(min_length=1, max_length=MAX_SEARCH)],
    "Only those whose name or username contains this, whatever its accents, or whose phone these digits.",
)
_LIST = RouteDoc(
    "The people whom a unit knows",
    {200: ContactPage},
    query=(SEARCH, PHONE, *PAGED),
)
_PICTURE = RouteDoc(
    "Where WhatsApp has a contact's picture",
    {200: PictureBody},
    errors={
        "contact_not_found": 404,
        "line_not_connected": 409,
        "lookups_held": 429,
        "evolution_failed": 502,
    },
    detail="WhatsApp is asked within ten seconds, and its answer is kept for an hour. The picture itself stays there.",
)


class ContactRoutes:
    """``/units/{id}/contacts``."""

    def __init__(self, commands: UnitCommands, pool: Pool, pictures: ContactPictures, region: str) -> None:
        self._commands = commands
        self._pool = pool
        self._pictures = pictures
        self._region = region

    def attach(self, routes: RouteTable) -> None:
        contacts = "/units/<uuid:unit>/contacts"
        routes.add("GET", contacts, "list_contacts", self.list, Access.READ, _LIST)
        path = f"{contacts}/<uuid:person>/picture"
        routes.add("GET", path, "get_contact_picture", self.picture, Access.READ, _PICTURE)

    async def list(self, unit: UUID) -> Response:
        id, (limit, after) = self._commands.find(UnitId(unit)).id, page_query(_After)
        search, phone = query_search(), query_phone(self._region)
        if phone is not None:
            if search is not None:
                raise invalid("phone", "is given, and search too: one of them is enough")
            found = await stored.find_contact_by_phone(self._pool, id, phone)
            return json_response(ContactPage([_contact_body(found)] if found is not None else [], None))
        canonical = after.canonical if after is not None else ""
        rows = await stored.list_contacts(self._pool, id, canonical, limit + 1, search)
        page, next_cursor = split_page(rows, limit, lambda row: _After(row.canonical))
        return json_response(ContactPage([_contact_body(row) for row in page], next_cursor))

    async def picture(self, unit: UUID, person: UUID) -> Response:
        record = self._commands.find(UnitId(unit))
        found = await stored.find_contact(self._pool, record.id, person)
        if found is None:
            raise Problem(404, "contact_not_found", "nothing is held of such a contact")
        try:
            picture = await self._pictures.find(record, found)
        except LookupsHeld as held:
            raise held_problem(held) from held
        return json_response(PictureBody(picture.url, iso(picture.asked_at)))


def query_search() -> str | None:
    """The query's ``search``, or None. Raises Problem 422."""
    text = request.args.get("search")
    if text is None:
        return None
    if not 1 <= len(text.strip()) <= MAX_SEARCH or "\0" in text:
        raise invalid("search", f"is a text of 1 to {MAX_SEARCH} characters")
    return text.strip()


def _contact_body(contact: Contact) -> ContactBody:
    return body_from(ContactBody, contact, conversation_id=contact.conversation, known_since=iso(contact.created_at))
