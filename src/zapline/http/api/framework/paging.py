"""Pages of lists: how many, from where, and the cursor that says where the next one begins.

A cursor holds the position of a page's last row. It is no secret and proves nothing: every page is read
with the rights of who asks.
"""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta
from quart import request

from zapline.http.api.framework.json_bodies import Answer
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.routes import Query

T = TypeVar("T")
P = TypeVar("P", bound="Position")
BIGINT = 2**63 - 1
Seq = Annotated[int, Meta(ge=0, le=BIGINT)]
_MOST = 200
_USUAL = 50
_LONGEST = 200


LIMIT = Query("limit", Annotated[int, Meta(ge=1, le=_MOST)], f"How many at most; {_USUAL} unless told.")
CURSOR = Query("cursor", Annotated[str, Meta(max_length=_LONGEST)], "`nextCursor` of the page before this one.")
PAGED = (LIMIT, CURSOR)
"""The parameters that a list has."""


class Page(Answer, Generic[T], frozen=True):
    """A page of a list."""

    items: Sequence[T]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one.")]


class Position(msgspec.Struct, array_like=True, frozen=True):
    """Where a page ended; each list has its own kind, told apart by its tag."""


def limit() -> int:
    """The query's ``limit``, 1 to 200; 50 where there is none."""
    return number("limit", _USUAL, 1, _MOST)


def number(name: str, usual: int, least: int, most: int) -> int:
    """A whole number of the query. Raises Problem 422."""
    text = request.args.get(name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
        raise invalid(name, f"is a whole number from {least} to {most}")
    return int(text)


def moment(name: str) -> datetime | None:
    """A time of the query, or None. Raises Problem 422."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        read: datetime = msgspec.convert(text, Annotated[datetime, Meta(tz=True)])
        return read
    except msgspec.ValidationError:
        raise invalid(name, "is a time with its zone, as 2026-06-01T12:00:00Z") from None


def cursor(kind: type[P], name: str = "cursor") -> P | None:
    """The query's ``cursor`` as a position of this kind, or None. Raises Problem 422."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        if len(text) > _LONGEST:
            raise ValueError("too long")
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        return msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True), type=kind)
    except (ValueError, binascii.Error):  # msgspec's and Unicode's errors are ValueErrors too
        raise invalid(name, "is not one that this list has given") from None


def encode(position: Position) -> str:
    """The cursor of a position."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()
