"""Prints answers and refusals in Evolution's envelope, and checks request bodies as its schemas do."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from zapline.sandbox.simulator.http.http_server import Answer

ERRORS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


NUMBER = r"^\d+[\.@\w-]+"
"""What Evolution takes for a number or a JID."""


class Refusal(Exception):
    """A request that is answered with an error. ``message`` has as many shapes as Evolution gives it."""

    def __init__(self, status: int, message: Any, error: str | None = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.error = error or ERRORS.get(status, "Internal Server Error")


def encode(body: Any) -> bytes:
    """The body as JSON. Lone surrogates, which recordings may hold, become question marks."""
    try:
        return msgspec.json.encode(body)
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def answer(body: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    return Answer(status, encode(body), headers=headers)


def refuse(refusal: Refusal) -> Answer:
    body = {"status": refusal.status, "error": refusal.error, "response": {"message": refusal.message}}
    return answer(body, refusal.status)


def read_json(body: bytes) -> Any:
    """The request body. A refusal carries the words of the JSON parser, under an error name that misleads."""
    if not body:
        return {}
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        pass  # it may still be JSON to a more lenient reader, which also has the words
    try:
        return json.loads(body)
    except json.JSONDecodeError as exc:
        at_end = "Unterminated" in exc.msg
        words = "Unterminated string in JSON" if at_end else "Unexpected token in JSON"
        position = len(exc.doc) if at_end else exc.pos
        raise Refusal(400, f"{words} at position {position}", "Internal Server Error") from exc
    except UnicodeDecodeError as exc:
        raise Refusal(400, "Unexpected token in JSON at position 0", "Internal Server Error") from exc


@dataclass(frozen=True, slots=True)
class Field:
    """``kinds``: accepted types. ``words``: the complaint, where the schema has one of its own."""

    kinds: tuple[type, ...]
    words: str | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Schema:
    required: tuple[str, ...]
    fields: Mapping[str, Field]

    def check(self, body: Any) -> dict[str, Any]:
        """The body as an object. Raises a refusal whose message is an array in an array."""
        given: dict[str, Any] = body if isinstance(body, dict) else {}
        complaints: list[str] = []
        for name, field in self.fields.items():
            if name in given and (complaint := _complaint(name, field, given[name])):
                complaints.append(complaint)
        complaints += [f'instance requires property "{name}"' for name in self.required if name not in given]
        if complaints:
            raise Refusal(400, [complaints])
        return given


def _complaint(name: str, field: Field, value: Any) -> str | None:
    is_bool = isinstance(value, bool)
    fits = isinstance(value, field.kinds) and (not is_bool or bool in field.kinds)
    in_form = field.pattern is None or not isinstance(value, str) or re.match(field.pattern, value) is not None
    if fits and in_form and (not field.choices or value in field.choices):
        return None
    if field.words is not None:
        return field.words
    if fits and not in_form:
        return f"{name} does not match pattern {json.dumps(field.pattern)}"
    if field.choices:
        return f"{name} is not one of enum values: {','.join(field.choices)}"
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
    return f"{name} is not of a type(s) {kinds[field.kinds[0]]}"
