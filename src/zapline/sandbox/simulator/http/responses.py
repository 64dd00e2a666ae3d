"""Builds responses and errors in Evolution's envelope, and checks request bodies as its schemas do."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from zapline.sandbox.simulator.http.http_server import Response

ERRORS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
}
NUMBER = r"^\d+[\.@\w-]+"
"""What Evolution accepts as a number or a JID."""


class ApiError(Exception):
    """An error response. ``message`` is a string, a list or a nested list, as Evolution has it."""

    def __init__(self, status: int, message: Any, error: str | None = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.error = error or ERRORS.get(status, "Internal Server Error")


def encode_json(body: Any) -> bytes:
    """Encode the body as JSON. Lone surrogates are written as escapes, as Node does."""
    try:
        return msgspec.json.encode(body)
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(body, separators=(",", ":")).encode("ascii")


def json_response(body: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(status, encode_json(body), headers=headers)


def error_response(error: ApiError) -> Response:
    body = {"status": error.status, "error": error.error, "response": {"message": error.message}}
    return json_response(body, error.status)


def read_json(body: bytes) -> Any:
    """Decode a request body. An ``ApiError`` carries the parser's message, under Evolution's misleading error name."""
    if not body:
        return {}
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        pass  # json.loads is more lenient, and has the error message
    try:
        return json.loads(body)
    except json.JSONDecodeError as exc:
        at_end = "Unterminated" in exc.msg
        message = "Unterminated string in JSON" if at_end else "Unexpected token in JSON"
        position = len(exc.doc) if at_end else exc.pos
        raise ApiError(400, f"{message} at position {position}", "Internal Server Error") from exc
    except UnicodeDecodeError as exc:
        raise ApiError(400, "Unexpected token in JSON at position 0", "Internal Server Error") from exc


@dataclass(frozen=True, slots=True)
class Field:
    """``types``: accepted types. ``message``: the error text, where the schema has its own."""

    types: tuple[type, ...]
    message: str | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Schema:
    required: tuple[str, ...]
    fields: Mapping[str, Field]

    def check(self, body: Any) -> dict[str, Any]:
        """Return the body as an object. Raises ``ApiError`` whose message is a list in a list."""
        properties: dict[str, Any] = body if isinstance(body, dict) else {}
        errors: list[str] = []
        for name, field in self.fields.items():
            if name in properties and (error := _field_error(name, field, properties[name])):
                errors.append(error)
        errors += [f'instance requires property "{name}"' for name in self.required if name not in properties]
        if errors:
            raise ApiError(400, [errors])
        return properties


def _field_error(name: str, field: Field, value: Any) -> str | None:
    is_bool = isinstance(value, bool)
    type_matches = isinstance(value, field.types) and (not is_bool or bool in field.types)
    pattern_matches = field.pattern is None or not isinstance(value, str) or re.match(field.pattern, value) is not None
    if type_matches and pattern_matches and (not field.choices or value in field.choices):
        return None
    if field.message is not None:
        return field.message
    if type_matches and not pattern_matches:
        return f"{name} does not match pattern {json.dumps(field.pattern)}"
    if field.choices:
        return f"{name} is not one of enum values: {','.join(field.choices)}"
    names = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
    return f"{name} is not of a type(s) {names[field.types[0]]}"
