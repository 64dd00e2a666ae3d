"""Pages of lists: the query's limit and cursor, and the cursor of the next page.

A cursor holds the position of a page's last row. It is no secret and grants nothing: every page is read with the
caller's own rights.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta
from quart import request

from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.ids import UnitId
from zapline.domain.text import Sentence
from zapline.http.api.framework.json_bodies import AwareDatetime, ResponseBody
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.route_table import QueryParameter

T = TypeVar("T")
P = TypeVar("P", bound="Position")
BIGINT = 2**63 - 1
Seq = Annotated[int, Meta(ge=0, le=BIGINT)]
_MAX_LIMIT = 200
_DEFAULT_LIMIT = 50
_MAX_CURSOR = 200


LIMIT = QueryParameter(
    "limit", Annotated[int, Meta(ge=1, le=_MAX_LIMIT)], f"How many at most; {_DEFAULT_LIMIT} unless told."
)
CURSOR = QueryParameter(
    "cursor", Annotated[str, Meta(max_length=_MAX_CURSOR)], "`nextCursor` of the page before this one."
)
PAGED = (LIMIT, CURSOR)
"""The query parameters of a paged list."""


class Page(ResponseBody, Generic[T], frozen=True):
    """A page of a list."""

    items: Sequence[T]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one.")]


class Position(msgspec.Struct, array_like=True, frozen=True):
    """The position of a page's last row; each list has its own class, distinguished by its tag."""


def split_page(rows: Sequence[T], limit: int, position: Callable[[T], Position]) -> tuple[Sequence[T], str | None]:
    """The first ``limit`` of ``rows``, of which one more was read, and the cursor of the next page if there is one."""
    page = rows[:limit]
    return page, encode_cursor(position(page[-1])) if len(rows) > limit else None


def page_query(kind: type[P]) -> tuple[int, P | None]:
    """The query's ``limit`` and ``cursor``. Raises Problem 422."""
    return query_limit(), query_cursor(kind)


def query_limit() -> int:
    """The query's ``limit``, 1 to 200; 50 by default."""
    return query_int("limit", _DEFAULT_LIMIT, 1, _MAX_LIMIT)


def query_int(name: str, default: int, least: int, most: int) -> int:
    """An integer of the query. Raises Problem 422."""
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
        raise invalid(name, Sentence("is a whole number from {least} to {most}", least=least, most=most))
    return int(text)


def query_bool(name: str) -> bool:
    """A boolean of the query; false by default. Raises Problem 422."""
    text = request.args.get(name, "false")
    if text not in ("true", "false"):
        raise invalid(name, "is true or false")
    return text == "true"


def query_unit() -> UnitId | None:
    """The query's ``unitId``, or None. Raises Problem 422."""
    text = request.args.get("unitId")
    try:
        return UnitId(UUID(text)) if text is not None else None
    except ValueError:
        raise invalid("unitId", "is a unit's id") from None


PHONE = QueryParameter(
    "phone", Annotated[str, Meta(min_length=1, max_length=80)], "Only the one with this phone, in any usual form."
)


def query_phone(region: str) -> str | None:
    """The canonical phone of the query's ``phone``; ``region``: of one without a country code. Raises Problem 422."""
    phone = request.args.get("phone")
    try:
        return parse_phone(phone, region) if phone is not None else None
    except InvalidPhone as refused:
        raise invalid("phone", refused.sentence) from refused


def query_datetime(name: str) -> datetime | None:
    """A time of the query, or None. Raises Problem 422."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        read: datetime = msgspec.convert(text, AwareDatetime)
        return read
    except msgspec.ValidationError:
        raise invalid(name, "is a time with its zone, as 2026-06-01T12:00:00Z") from None


def query_cursor(kind: type[P], name: str = "cursor") -> P | None:
    """The query's ``cursor`` as a position of this kind, or None. Raises Problem 422."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        if len(text) > _MAX_CURSOR:
            raise ValueError("too long")
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        return msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True), type=kind)
    except (ValueError, binascii.Error):  # msgspec's and Unicode's errors are ValueErrors too
        raise invalid(name, "is not one that this list has given") from None


def encode_cursor(position: Position) -> str:
    """The cursor of a position."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()
