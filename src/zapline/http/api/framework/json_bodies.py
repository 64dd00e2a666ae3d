"""What crosses the API's wire: bodies in, JSON out, times as text."""

import re
from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from quart import Response, request

from zapline.http.api.framework.problems import Problem, invalid

T = TypeVar("T")
_AT = re.compile(r" - at `\$\.?(?P<field>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<field>.*?)`", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>\w+)`")
_SHOWN = 100
"""Characters of a caller's own words that are repeated to him."""


class Body(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    """A request's body: camelCase, and a field that is not known is refused, not ignored."""


class Answer(msgspec.Struct, rename="camel", frozen=True):
    """An answer's body: camelCase, and every field is there, null where there is nothing to say."""


Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""What ``iso`` writes."""


def one_of(words: Iterable[str], sentence: str | None = None) -> Meta:
    """Of an answer's text: it is one of these."""
    return Meta(description=sentence, extra_json_schema={"enum": list(words)})


async def read_body(kind: type[T]) -> T:
    """The request's body as ``kind``; an empty one counts as ``{}``.

    Raises Problem: 400 for what is no JSON, 422 naming the field for what does not fit.
    """
    return decode_body(await request.get_data(cache=False, as_text=False, parse_form_data=False), kind)


def decode_body(raw: bytes, kind: type[T]) -> T:
    """The same for a body that was read already."""
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise _unfit(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "malformed_json", "the body is not JSON") from None


def _unfit(said: str) -> Problem:
    at, unknown, missing = _AT.search(said), _UNKNOWN.search(said), _MISSING.search(said)
    place = at["field"] if at else ""
    if unknown:
        return invalid(".".join(filter(None, [place, unknown["field"][:_SHOWN]])), "is not known")
    if missing:
        return invalid(".".join(filter(None, [place, missing["field"]])), "is missing")
    message = _AT.sub("", said).replace("`", "")
    return invalid(place or "body", message[:1].lower() + message[1:])


def reply(body: object, status: int = 200) -> Response:
    """``body`` as JSON."""
    return Response(msgspec.json.encode(body), status, content_type="application/json")
