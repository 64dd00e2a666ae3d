"""Generates the OpenAPI 3.1 document from the route table, so that it describes exactly what is served."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from zapline import __version__
from zapline.http.api.documentation.curl_samples import curl_line
from zapline.http.api.framework.problem_codes import MEANINGS, RETRYABLE
from zapline.http.api.framework.problems import ProblemBody
from zapline.http.api.framework.route_table import Access, QueryParameter, Route, RouteDoc

Json = dict[str, Any]

PARAMETER = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>\w+)>")
_CONVERTER_SCHEMAS: Mapping[str, Json] = {
    "uuid": {"type": "string", "format": "uuid"},
    "int": {"type": "integer", "minimum": 0},
    "string": {"type": "string", "minLength": 1},
    "path": {"type": "string", "minLength": 1},
}
"""Schemas of werkzeug's path converters."""
_PARAMETER_DESCRIPTIONS = {
    "unit": "The unit's id.",
    "conversation": "The conversation's id.",
    "message": "The message's id, ours and not WhatsApp's.",
    "campaign": "The campaign's id.",
    "contact": "As the list names it: a phone with its plus, or `lid:` and digits.",
    "person": "The contact's id.",
    "group": "The group's id, ours and not WhatsApp's.",
    "shortcut": "What is typed behind the `/`.",
    "letter": "The dead letter's number.",
    "hook": "The hook's id.",
    "delivery": "The delivery's id.",
    "erasure": "The erasure's id.",
    "token": "The token's id, not the token.",
    "organization": "The organization's id.",
}
_TAGS = {
    "admin": "Signing in and tokens",
    "tokens": "Signing in and tokens",
    "organizations": "Organizations",
    "units": "Units",
    "whatsapp": "Line",
    "line-history": "Line",
    "uptime": "Line",
    "uptime.csv": "Line",
    "conversations": "Conversations and messages",
    "messages": "Conversations and messages",
    "journeys": "Conversations and messages",
    "outbox": "Conversations and messages",
    "uploads": "Conversations and messages",
    "quick-replies": "Conversations and messages",
    "numbers": "Numbers, contacts and groups",
    "contacts": "Numbers, contacts and groups",
    "groups": "Numbers, contacts and groups",
    "campaigns": "Campaigns",
    "suppressions": "Campaigns",
    "events": "Events and webhooks",
    "hooks": "Events and webhooks",
    "privacy": "Privacy",
    "dead-letters": "Operations",
    "audit": "Operations",
    "alarms": "Operations",
}
_DEFAULT_TAG = "Operations"
_ACCESS_DESCRIPTIONS: Mapping[Access, str] = {
    Access.OPEN: "Anybody.",
    Access.SIGNED_IN: "Whoever has a valid token.",
    Access.PERSON: "A person: an administrator, an operator or an attendant.",
    Access.READ: "A person of the unit, or a token of it or its organization with the scope `read`.",
    Access.INSPECT: "A person of the unit but attendants, or a token of it or its organization with the scope `read`.",
    Access.SEND: "A person of the unit, or a token of it or its organization with the scope `send`.",
    Access.CAMPAIGN: "A person of the unit but attendants, or a token of it or its organization with the scope `send`.",
    Access.CONTROL: "A person of the unit but attendants, or a token of it or its organization with `control`.",
    Access.ADMIN: "An administrator.",
}
_BODY_SUFFIX = "Body"
"""Suffix of class names in the source that is left out in the document."""
_PUBLISHED_NAMES: Mapping[str, str] = {
    **{f"{kind}Payload": f"{kind}News" for kind in ("Campaign", "Delivery", "Message", "Status")},
    **{f"{kind}Event": f"{kind}Told" for kind in ("Campaign", "Delivery", "Message", "Status", "Test")},
    "HookTestPayload": "Tested",
    "CrmWebhookEvent": "HookEvent",
    "LeadershipStatus": "Standing",
    "RequestBody": "Nothing",
}
"""Published names of schemas whose class has another name; clients may have generated code from them."""
_REF_TEMPLATE = "#/components/schemas/{name}"
_SSE_SCHEMA: Json = {
    "type": "object",
    "description": "An event, one after the other; `data` is JSON.",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
_MEDIA_SCHEMAS: Mapping[str, Json] = {"text/event-stream": _SSE_SCHEMA, "application/json": {"type": "object"}}
_ETAG = {"ETag": "Names this state of things."}
_IF_NONE_MATCH: Json = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The `ETag` of the answer that you have; 304 where it still holds.",
    "schema": {"type": "string"},
}
_DESCRIPTION = """\
Zapline stands between the Evolution API (WhatsApp) and a CRM. Every request carries `Authorization: Bearer TOKEN`,
but for those that say otherwise. Bodies and answers are JSON in camelCase, times ISO 8601 in UTC. A field or a
parameter of the query that is not known is refused, not ignored. Every error is a problem (RFC 9457) with a stable
`code`, and `retryable` says whether the same request may succeed later. Where a token has a limit, every answer to
it says by `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10) how many requests a minute it
may make, how many are left, and in how many seconds all are."""


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """An event that Zapline sends to the CRM: an entry of the document's ``webhooks``."""

    name: str
    summary: str
    body: Any
    headers: Mapping[str, str]


def openapi_document(routes: Iterable[Route], webhooks: Sequence[WebhookEvent] = ()) -> Json:
    """The document as JSON values."""
    routes = list(routes)
    schemas = _Schemas([ProblemBody, *_types(route.doc for route in routes), *(webhook.body for webhook in webhooks)])
    paths: dict[str, Json] = {}
    for route in routes:
        path = PARAMETER.sub(r"{\g<name>}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, route.doc, schemas)
    used_tags = {tag_of(route.path) for route in routes}
    result: Json = {
        "openapi": "3.1.0",
        "info": {"title": "Zapline", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(_TAGS.values()) if tag in used_tags],
        "paths": paths,
    }
    if webhooks:
        result["webhooks"] = {webhook.name: {"post": _webhook(webhook, schemas)} for webhook in webhooks}
    bearer = {"type": "http", "scheme": "bearer", "description": "An opaque token: `zl_` and 43 characters."}
    result["components"] = {"schemas": schemas.components, "securitySchemes": {"bearer": bearer}}
    return result


def tag_of(path: str) -> str:
    """The tag of a route: its resource, as a heading."""
    segments = [segment for segment in path.split("/") if segment and not segment.startswith("<")]
    if len(segments) > 1 and segments[0] == "units":
        segments = segments[1:]
    return _TAGS.get(segments[0] if segments else "", _TAGS["units"] if path.startswith("/units") else _DEFAULT_TAG)


class _Schemas:
    """JSON Schemas of the types and of those that they refer to."""

    def __init__(self, types: Iterable[Any]) -> None:
        self._types = list(types)
        schemas, components = msgspec.json.schema_components(self._types, ref_template=_REF_TEMPLATE)
        self._schemas = [_public_schema(schema) for schema in schemas]
        self.components: Json = {}
        for name, component in components.items():
            if self.components.setdefault(_schema_name(name), public := _public_schema(component)) is not public:
                raise ValueError(f"two schemas are called {_schema_name(name)}")

    def of(self, kind: Any) -> Json:
        """The schema of a type, or of a tuple of types that are alternatives."""
        if isinstance(kind, tuple):
            return {"anyOf": [self.of(component) for component in kind]}
        return next(schema for known, schema in zip(self._types, self._schemas, strict=True) if known is kind)


def _public_schema(schema: Any) -> Any:
    """The schema as the document shows it: docstrings and class names are written for the source."""
    if isinstance(schema, Mapping):
        return {name: _public_value(name, part) for name, part in schema.items()}
    return [_public_schema(part) for part in schema] if isinstance(schema, list | tuple) else schema


def _schema_name(name: str) -> str:
    """The published name of a schema, or of a reference to it."""
    prefix, slash, class_name = name.rpartition("/")
    return prefix + slash + _PUBLISHED_NAMES.get(class_name, class_name.removesuffix(_BODY_SUFFIX))


def _public_value(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return _public_schema(value)
    match name:
        case "description":
            return " ".join(value.replace("``", "`").split())
        case "$ref" | "title":
            return _schema_name(value)
    return value


def _types(docs: Iterable[RouteDoc]) -> Iterator[Any]:
    for doc in docs:
        for kind in (doc.body, *doc.responses.values()):
            yield from (type_ for type_ in _alternatives(kind) if type_ is not None and not isinstance(type_, str))
        yield from (parameter.kind for parameter in doc.query)


def _alternatives(kind: Any) -> Sequence[Any]:
    return kind if isinstance(kind, tuple) else (kind,)


def _operation(route: Route, doc: RouteDoc, schemas: _Schemas) -> Json:
    operation: Json = {
        "operationId": route.name,
        "summary": doc.summary,
        "description": "\n\n".join(filter(None, [doc.detail, f"Who may: {_ACCESS_DESCRIPTIONS[route.access]}"])),
        "tags": [tag_of(route.path)],
        "x-access": route.access.value,
    }
    parameters = [*_path_parameters(route.path), *(_query(parameter, schemas) for parameter in doc.query)]
    if doc.polled:
        parameters.append(_IF_NONE_MATCH)
    if parameters:
        operation["parameters"] = parameters
    if doc.body is not None or doc.other_media:
        operation["requestBody"] = _body(doc, schemas)
    operation["responses"] = _responses(route, doc, schemas)
    operation["security"] = [] if route.access is Access.OPEN else [{"bearer": []}]
    operation["x-codeSamples"] = [{"lang": "Shell", "source": curl_line(route, doc)}]
    return operation


def _path_parameters(path: str) -> Iterator[Json]:
    for match in PARAMETER.finditer(path):
        parameter: Json = {
            "name": match["name"],
            "in": "path",
            "required": True,
            "schema": _CONVERTER_SCHEMAS[match["kind"] or "string"],
        }
        if match["name"] in _PARAMETER_DESCRIPTIONS:
            parameter["description"] = _PARAMETER_DESCRIPTIONS[match["name"]]
        yield parameter


def _query(parameter: QueryParameter, schemas: _Schemas) -> Json:
    return {
        "name": parameter.name,
        "in": "query",
        **({"required": True} if parameter.required else {}),
        "description": parameter.description,
        "schema": schemas.of(parameter.kind),
    }


def _body(doc: RouteDoc, schemas: _Schemas) -> Json:
    content: Json = {media: {"schema": {"type": "string", "format": "binary"}} for media in doc.other_media}
    if isinstance(doc.body, str):
        content[doc.body] = {"schema": {"type": "string", "format": "binary"}}
    elif doc.body is not None:
        json_content: Json = {"schema": schemas.of(doc.body)}
        if doc.example is not None:
            json_content["example"] = doc.example
        content = {"application/json": json_content, **content}
    return {"required": isinstance(doc.body, str) or bool(_required(doc.body)), "content": content}


def _required(kind: Any) -> Sequence[str]:
    """Names of the required fields; a body without any may be empty."""
    fields = msgspec.structs.fields(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ()
    return [field.encode_name for field in fields if field.required]


# -- answers -------------------------------------------------------------------------------------------------


def _responses(route: Route, doc: RouteDoc, schemas: _Schemas) -> Json:
    responses: Json = {}
    for status, kind in sorted(doc.responses.items()):
        response: Json = {"description": HTTPStatus(status).phrase}
        descriptions = {**doc.headers, **(_ETAG if doc.polled else {})}
        headers = {
            name: {"description": description, "schema": {"type": "string"}}
            for name, description in descriptions.items()
        }
        if headers:
            response["headers"] = headers
        if isinstance(kind, str):
            response["content"] = {kind: {"schema": _MEDIA_SCHEMAS.get(kind, {"type": "string"})}}
        elif kind is not None:
            response["content"] = {"application/json": {"schema": schemas.of(kind)}}
        responses[str(status)] = response
    if doc.polled:
        responses["304"] = {"description": "Nothing has changed: what you have is still so. There is no body."}
    by_status: dict[int, list[str]] = defaultdict(list)
    for code, status in {**_common_problems(route, doc), **doc.errors}.items():
        by_status[status].append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = _problem(status, sorted(codes), schemas)
    return responses


def _common_problems(route: Route, doc: RouteDoc) -> Mapping[str, int]:
    """The problems that every route of this kind has, with their status."""
    usual = {"internal_error": 500}
    changes = route.method in ("POST", "PUT", "PATCH", "DELETE")
    if route.access is not Access.OPEN:
        usual |= {"unauthorized": 401, "too_many_requests": 429}
    if route.access is not Access.OPEN or changes:
        usual |= {"database_unavailable": 503, "database_busy": 503, "database_refused": 503}
        usual["unavailable"] = 503
    if route.access not in (Access.OPEN, Access.SIGNED_IN):
        usual["forbidden"] = 403
    if "<" in route.path:
        usual["not_found"] = 404
    if "<uuid:unit>" in route.path:
        usual["unit_not_found"] = 404
    if "<uuid:organization>" in route.path:
        usual["organization_not_found"] = 404
    if changes:
        usual |= {"outcome_unknown": 503, "refused": 409}
    if doc.body is not None or doc.other_media:
        usual |= {"bad_request": 400, "request_timeout": 408, "body_too_large": 413, "unsupported_media_type": 415}
        usual |= {"malformed_json": 400, "invalid_request": 422, "invalid_text": 422}
    if doc.query:
        usual["invalid_request"] = 422
    return usual


def _problem(status: int, codes: Sequence[str], schemas: _Schemas) -> Json:
    description = "; ".join(f"`{code}`: {MEANINGS.get(code, code)}" for code in codes)
    response: Json = {"description": description}
    if any(code in RETRYABLE for code in codes):
        seconds = {"type": "integer", "minimum": 1}
        response["headers"] = {"Retry-After": {"description": "Seconds after which to ask again.", "schema": seconds}}
    schema: Json = {"allOf": [schemas.of(ProblemBody)], "properties": {"code": {"enum": list(codes)}}}
    if status == 422:
        schema["required"] = ["errors"]
    response["content"] = {"application/problem+json": {"schema": schema}}
    return response


def _webhook(webhook: WebhookEvent, schemas: _Schemas) -> Json:
    headers = [
        {"name": name, "in": "header", "required": True, "description": description, "schema": {"type": "string"}}
        for name, description in webhook.headers.items()
    ]
    return {
        "summary": webhook.summary,
        "parameters": headers,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schemas.of(webhook.body)}}},
        "responses": {"2XX": {"description": "Taken. Anything else, or no answer in time, is tried again."}},
    }
