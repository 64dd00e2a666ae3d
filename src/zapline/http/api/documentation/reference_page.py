"""Serves the API's description: the OpenAPI document, and a page made of it that needs nobody else's server."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from quart import Response

from zapline.http.api.documentation.openapi import Json, Told, document
from zapline.http.api.framework.routes import Access, Doc, Routes

_PAGES = "page"
_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_METHODS = ("get", "post", "put", "patch", "delete")
_COUNTED = {"Length": "characters", "Items": "entries"}
_DEEPEST = 4
"""Levels of a body's fields that are shown; the document has them all."""


@dataclass(frozen=True, slots=True)
class Field:
    """A line of the page's tables: a parameter, or a field of a body with its path."""

    name: str
    kind: str
    required: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: what is said of it, its body's type and its fields."""

    status: str
    sentence: str
    kind: str
    fields: Sequence[Field]


@dataclass(frozen=True, slots=True)
class Operation:
    """A route as the page shows it. ``about``: paragraphs."""

    id: str
    method: str
    path: str
    summary: str
    about: Sequence[str]
    parameters: Sequence[Field]
    body: Sequence[Field]
    bodies: Sequence[str]
    """Media types that a body may have."""
    example: str | None
    curl: str
    answers: Sequence[Answered]
    problems: Sequence[tuple[str, Sequence[str]]]
    """Status, and the codes with what they mean."""


class Reference:
    """``/openapi.json`` and ``/docs``; made when first asked for, when all routes are known."""

    def __init__(self, routes: Routes, told: Sequence[Told] = ()) -> None:
        self._routes = routes
        self._told = told

    def attach(self) -> None:
        add = self._routes.add
        shown = Doc("The API as an OpenAPI 3.1 document", {200: "application/json"})
        add("GET", "/openapi.json", "openapi", self.openapi, Access.OPEN, shown)
        add("GET", "/docs", "docs", self.docs, Access.OPEN, Doc("The API as a page to read", {200: "text/html"}))
        sheet = Doc("The stylesheet of the page", {200: "text/css"})
        add("GET", "/docs/style.css", "docs_style", self.style, Access.OPEN, sheet)

    async def openapi(self) -> Response:
        return Response(self._encoded, content_type="application/json")

    async def docs(self) -> Response:
        page = Response(self._page, content_type="text/html; charset=utf-8")
        page.headers["Content-Security-Policy"] = _POLICY
        return page

    async def style(self) -> Response:
        return Response(self._style, content_type="text/css; charset=utf-8")

    @cached_property
    def _document(self) -> Json:
        return document(self._routes, self._told)

    @cached_property
    def _encoded(self) -> bytes:
        return msgspec.json.encode(self._document)

    @cached_property
    def _style(self) -> bytes:
        return files(__package__).joinpath(_PAGES, "docs.css").read_bytes()

    @cached_property
    def _page(self) -> str:
        # Jinja's own async mode would look for an asyncio loop; this is rendered once, from what we wrote ourselves.
        pages = Environment(
            loader=PackageLoader(__package__, _PAGES),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        pages.filters["marked"] = _marked
        made = self._document
        groups = {
            tag["name"]: [one for tagged, one in _operations(made) if tagged == tag["name"]] for tag in made["tags"]
        }
        info = made["info"]
        return pages.get_template("docs.html").render(info=info, groups=groups, webhooks=list(_webhooks(made)))


def _marked(text: str) -> Markup:
    """The text, escaped, with what stands in backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


def _operations(made: Json) -> Iterator[tuple[str, Operation]]:
    for path, methods in made["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield methods[method]["tags"][0], _operation(method, path, methods[method], made)


def _webhooks(made: Json) -> Iterator[Operation]:
    for name, methods in made.get("webhooks", {}).items():
        told = {"operationId": f"webhook-{name}", **methods["post"]}
        yield _operation("post", name, told, made)


def _operation(method: str, path: str, told: Json, made: Json) -> Operation:
    contents = told.get("requestBody", {}).get("content", {})
    spoken = contents.get("application/json", {})
    return Operation(
        id=told["operationId"],
        method=method.upper(),
        path=path,
        summary=told["summary"],
        about=told.get("description", "").split("\n\n"),
        parameters=[_parameter(one, made) for one in told.get("parameters", [])],
        body=list(_fields(spoken.get("schema", {}), made)),
        bodies=list(contents),
        example=_indented(spoken["example"]) if "example" in spoken else None,
        curl=told["x-codeSamples"][0]["source"] if "x-codeSamples" in told else "",
        answers=[_answered(status, one, made) for status, one in told["responses"].items() if not _is_problem(one)],
        problems=[_problem(status, one) for status, one in told["responses"].items() if _is_problem(one)],
    )


def _indented(example: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(example), indent=2).decode()


def _is_problem(answer: Json) -> bool:
    return "application/problem+json" in answer.get("content", {})


def _problem(status: str, answer: Json) -> tuple[str, Sequence[str]]:
    return status, answer["description"].split("; ")


def _answered(status: str, answer: Json, made: Json) -> Answered:
    content = answer.get("content", {})
    media = next(iter(content), "no body")
    schema = content.get(media, {}).get("schema", {})
    named = [f"{name}: {header['description']}" for name, header in answer.get("headers", {}).items()]
    sentence = ". ".join([answer["description"], *named])
    return Answered(status, sentence, media, list(_fields(schema, made)))


def _parameter(one: Json, made: Json) -> Field:
    sentence = one.get("description", "")
    return Field(f"{one['name']} ({one['in']})", _kind(one["schema"], made), one.get("required", False), sentence)


# -- schemas in words ----------------------------------------------------------------------------------------


def _resolved(schema: Json, made: Json) -> Json:
    while "$ref" in schema:
        schema = made["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _parts(schema: Json, made: Json) -> Sequence[Json]:
    """The alternatives that are not null."""
    found = _resolved(schema, made)
    either = found.get("anyOf", [found])
    return [_resolved(one, made) for one in either if one.get("type") != "null"]


def _fields(schema: Json, made: Json, before: str = "", depth: int = 0) -> Iterator[Field]:
    """The fields of an object and of what is in it, each with its path."""
    if depth >= _DEEPEST:
        return
    for part in _parts(schema, made):
        if part.get("type") == "array" and isinstance(part.get("items"), dict):
            yield from _fields(part["items"], made, f"{before}[]", depth)
        for name, one in part.get("properties", {}).items():
            path = f"{before}.{name}" if before else name
            inner = _parts(one, made)
            sentence = one.get("description") or next(
                (each["description"] for each in inner if "description" in each), ""
            )
            yield Field(path, _kind(one, made), name in part.get("required", []), sentence)
            yield from _fields(one, made, path, depth + 1)


def _kind(schema: Json, made: Json) -> str:
    """A schema's type in a few words."""
    found = _resolved(schema, made)
    if "anyOf" in found:
        return " or ".join(dict.fromkeys(_kind(one, made) for one in found["anyOf"]))
    if "enum" in found:
        return "one of " + ", ".join(f"`{one}`" if isinstance(one, str) else str(one) for one in found["enum"])
    kind = str(found.get("type", "anything"))
    if kind == "array":
        inner = found.get("items")
        return f"list of {_kind(inner, made)}" if isinstance(inner, dict) else "list"
    bounds = [_bounds(found, f"min{what}", f"max{what}", words) for what, words in _COUNTED.items()]
    bounds.append(_bounds(found, "minimum", "maximum", ""))
    return ", ".join(filter(None, [found.get("format", kind), *bounds]))


def _bounds(schema: Json, least: str, most: str, words: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None and high is None:
        return ""
    told = f"from {low:,}" if high is None else f"up to {high:,}" if low is None else f"{low:,} to {high:,}"
    return f"{told} {words}".strip()
