"""Decodes request bodies and encodes JSON responses."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from quart import Response, request

from zapline.domain.timestamps import iso
from zapline.http.api.framework.problems import Problem, invalid

T = TypeVar("T")
B = TypeVar("B", bound="ResponseBody")
_AT = re.compile(r" - at `\$\.?(?P<field>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<field>.*?)`", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>\w+)`")
_MAX_REPEATED = 100
"""Characters of a caller's own input that are repeated in a problem."""
_EXACT = 2.0**53


class RequestBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    """A request's body: camelCase, and a field that is not known is refused, not ignored."""


class ResponseBody(msgspec.Struct, rename="camel", frozen=True):
    """A response body in camelCase; every field is present, null where there is no value."""


AwareDatetime = Annotated[datetime, Meta(tz=True)]
Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""As ``iso`` formats it."""


def one_of(values: Iterable[str], description: str | None = None) -> Meta:
    """Metadata of a text field with these values."""
    return Meta(description=description, extra_json_schema={"enum": list(values)})


async def read_body(kind: type[T]) -> T:
    """The request's body as ``kind``; an empty one counts as ``{}``.

    Raises Problem: 400 for what is not JSON, 422 naming the field for what does not validate.
    """
    return decode_body(await request.get_data(cache=False, as_text=False, parse_form_data=False), kind)


def decode_body(raw: bytes, kind: type[T]) -> T:
    """The same for a body that was already read."""
    raw = raw or b"{}"
    try:
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.ValidationError as error:
            if "Expected `int" not in str(error):
                raise
            # To JSON Schema 90.0 and 9e1 are integers too, and some languages write them so.
            return msgspec.json.decode(msgspec.json.encode(_with_integers(msgspec.json.decode(raw))), type=kind)
    except msgspec.ValidationError as error:
        raise _validation_problem(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "malformed_json", "the body is not JSON") from None


def _with_integers(value: Any) -> Any:
    """The JSON value with its whole numbers as int, so far as a float tells them apart (up to 2**53)."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    if isinstance(value, list):
        return [_with_integers(part) for part in value]
    if isinstance(value, dict):
        return {name: _with_integers(part) for name, part in value.items()}
    return value


def _validation_problem(error: str) -> Problem:
    at, unknown, missing = _AT.search(error), _UNKNOWN.search(error), _MISSING.search(error)
    path = at["field"] if at else ""
    if unknown:
        return invalid(".".join(filter(None, [path, unknown["field"][:_MAX_REPEATED]])), "is not known")
    if missing:
        return invalid(".".join(filter(None, [path, missing["field"]])), "is missing")
    message = _AT.sub("", error).replace("`", "")
    return invalid(path or "body", message[:1].lower() + message[1:])


def body_from(kind: type[B], record: object, **values: object) -> B:
    """A body from attributes of the same names, times as ``iso`` formats them; ``values`` are used in their place."""
    own = {name: getattr(record, name) for name in kind.__struct_fields__ if name not in values}
    return kind(**{name: iso(value) if isinstance(value, datetime) else value for name, value in own.items()}, **values)


def json_response(body: object, status: int = 200) -> Response:
    """A response with ``body`` as JSON."""
    return Response(msgspec.json.encode(body), status, content_type="application/json")
