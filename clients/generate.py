"""Writes the generated part of the Python client from docs/openapi.json: models as TypedDicts, one method a route;
and ``client.py`` from ``async_client.py``, which is written by hand.

``python clients/generate.py`` writes it; ``--typescript`` has openapi-typescript write the types of the other client as
well, for which npm is needed. The rest needs the standard library alone. openapi-python-client was looked at: what it
writes needs httpx below 0.29 (this project has its successor, httpx2), and it needs a typer that is older than ours.
"""

import hashlib
import json
import keyword
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "openapi.json"
CLIENT = ROOT / "clients" / "python" / "src" / "zapline_client"
TARGET = CLIENT / "generated"
TYPESCRIPT = ROOT / "clients" / "typescript"
Json = Mapping[str, Any]

_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_REF = "#/components/schemas/"
_STREAM = "text/event-stream"
_CLIENT_ID = re.compile(r"client[A-Z]\w*Id")
"""Fields with the caller's own name for something: whoever has one may repeat the request."""
_WIDTH = 116


def snake(name: str) -> str:
    """``afterSeq`` as ``after_seq``; a word of Python's gets an underscore."""
    result = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()
    return f"{result}_" if keyword.iskeyword(result) else result


def camel(name: str) -> str:
    """``message.received`` as ``MessageReceived``."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))


def comment(text: str, indent: str) -> str:
    """A docstring, wrapped."""
    words, lines, line = text.replace("\\", "\\\\").replace('"""', "'''").split(), [], ""
    for word in words:
        if line and len(indent) + len(line) + len(word) > _WIDTH - 6:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    lines.append(line)
    if len(lines) == 1:
        return f'{indent}"""{lines[0]}"""\n'
    return f'{indent}"""' + f"\n{indent}".join(lines) + f'\n{indent}"""\n'


@dataclass
class Models:
    """Writes schemas as Python types. What Zapline answers may grow new words; what it is asked may not be misspelt."""

    schemas: Json
    answered: set[str] = field(default_factory=set)

    def note_answered(self, schema: Any) -> None:
        """Remember all that an answer can hold."""
        if isinstance(schema, Mapping):
            name = str(schema.get("$ref", "")).removeprefix(_REF)
            if name and name not in self.answered:
                self.answered.add(name)
                self.note_answered(self.schemas[name])
        for part in schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ():
            self.note_answered(part)

    def type_of(self, schema: Json, *, answer: bool) -> str:
        """The annotation for a schema."""
        if "$ref" in schema:
            return str(schema["$ref"]).removeprefix(_REF)
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return self._union(self.type_of(part, answer=answer) for part in schema[union])
        if "allOf" in schema:
            return self.type_of(schema["allOf"][0], answer=answer)
        if "const" in schema:
            return f"Literal[{schema['const']!r}]"
        if "enum" in schema:
            words = [word for word in schema["enum"] if word is not None]
            parts = [f"Literal[{', '.join(map(quoted, words))}]"] if words else []
            parts += ["str"] * (answer and all(isinstance(word, str) for word in words))
            return self._union([*parts, *["None"] * (None in schema["enum"])])
        kind = schema.get("type")
        if isinstance(kind, list):
            return self._union(self.type_of({**schema, "type": each}, answer=answer) for each in kind)
        if kind == "array":
            return self._array(schema, answer=answer)
        if kind == "object":
            return self._object(schema, answer=answer)
        if kind == "string" and not answer:
            wider = {"uuid": "str | UUID", "date-time": "str | datetime"}
            return wider.get(str(schema.get("format")), "str")
        return _SCALARS.get(str(kind), "Any")

    def _array(self, schema: Json, *, answer: bool) -> str:
        if "prefixItems" in schema:
            return f"tuple[{', '.join(self.type_of(part, answer=answer) for part in schema['prefixItems'])}]"
        items = schema.get("items")
        inner = self.type_of(items, answer=answer) if isinstance(items, Mapping) else "Any"
        return f"list[{inner}]" if answer else f"Sequence[{inner}]"

    def _object(self, schema: Json, *, answer: bool) -> str:
        more = schema.get("additionalProperties")
        inner = self.type_of(more, answer=answer) if isinstance(more, Mapping) and more else "Any"
        return f"dict[str, {inner}]" if answer else f"Mapping[str, {inner}]"

    @staticmethod
    def _union(parts: Iterable[str]) -> str:
        seen = dict.fromkeys(each for part in parts for each in _split_union(part))
        return " | ".join([part for part in seen if part != "None"] + ["None"] * ("None" in seen)) or "Any"

    def declaration(self, name: str, schema: Json) -> str:
        """A class for an object, an alias for anything else."""
        answer = name in self.answered
        if schema.get("type") != "object" or "properties" not in schema:
            return f"{name}: TypeAlias = {quoted(self.type_of(schema, answer=answer))}\n"
        text = self._typed_dict(name, schema, answer=answer, optional=set())
        ids = {each for each in schema["properties"] if _CLIENT_ID.fullmatch(each)} & set(schema.get("required", ()))
        if ids and not answer:
            note = f"{name} whose {', '.join(sorted(ids))} the client makes, where you give none."
            text += "\n\n" + self._typed_dict(
                f"{name}Draft", {**schema, "description": note}, answer=False, optional=ids
            )
        return text

    def _typed_dict(self, name: str, schema: Json, *, answer: bool, optional: set[str]) -> str:
        required = set(schema.get("required", ())) - optional
        rows = []
        for key, part in schema["properties"].items():
            kind = self.type_of(part, answer=answer)
            rows.append((key, kind if key in required else f"NotRequired[{kind}]", str(part.get("description", ""))))
        if any(keyword.iskeyword(key) or not key.isidentifier() for key, _, _ in rows):
            inner = ", ".join(f"{quoted(key)}: {quoted(kind)}" for key, kind, _ in rows)
            return f"{name} = TypedDict({quoted(name)}, {{{inner}}})\n"
        text = f"class {name}(TypedDict):\n" + comment(str(schema.get("description") or name), "    ")
        for key, kind, described in rows:
            text += f"    {key}: {kind}\n" + (comment(described, "    ") if described else "")
        return text


def quoted(value: Any) -> str:
    """A literal with double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _split_union(text: str) -> list[str]:
    """The parts of a union that are not inside of brackets."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if letter == "|" and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


@dataclass(frozen=True)
class Operation:
    """A route as a method."""

    name: str
    method: str
    path: str
    summary: str
    description: str
    arguments: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str, str], ...]
    """Name in the address, argument, annotation."""
    body: str | None
    content: tuple[str, ...]
    """Media types of a body that is not JSON."""
    body_needed: bool
    answer: str
    kind: str
    """json, bytes or nothing."""
    names_itself: bool

    def method_text(self, *, wait: str) -> str:
        """The method; ``wait`` is ``await `` where the transport is awaited."""
        arguments = ["self", *(f"{name}: {kind}" for name, kind in self.arguments)]
        sent = []
        if self.body is not None:
            kind = f"{self.body} | bytes" if self.content else self.body
            arguments.append(f"body: {kind}" + ("" if self.body_needed else " | None = None"))
            sent.append("body=body")
        elif self.content:
            arguments.append("body: bytes")
            sent.append("body=body")
        keywords = [f"{name}: {kind} | None = None" for _, name, kind in self.query]
        if self.content:
            default = f" = {quoted(self.content[0])}" if "*" not in self.content[0] else ""
            keywords.append(f"content_type: str{default}")
            sent.append("content_type=content_type")
        if keywords:
            arguments += ["*", *keywords]
        if self.arguments:
            sent.append("path={" + ", ".join(f"{quoted(name)}: {name}" for name, _ in self.arguments) + "}")
        if self.query:
            sent.append("query={" + ", ".join(f"{quoted(name)}: {arg}" for name, arg, _ in self.query) + "}")
        if self.kind != "json":
            sent.append(f"answer={quoted(self.kind)}")
        if self.names_itself:
            sent.append("names_itself=True")
        start = "async def" if wait else "def"
        text = wrapped_call(f"    {start} {self.name}(", arguments, f") -> {self.answer}:")
        told = f"{self.summary}. `{self.method} {self.path}`."
        text += comment(f"{told} {self.description}", "        ")
        call = f"        result: {self.answer} = " if self.kind != "nothing" else "        "
        text += wrapped_call(f"{call}{wait}self._call(", [quoted(self.method), quoted(self.path), *sent], ")")
        return text + ("        return result\n" if self.kind != "nothing" else "")


def wrapped_call(start: str, arguments: list[str], end: str) -> str:
    """On one line where it fits, else one line an argument."""
    line = f"{start}{', '.join(arguments)}{end}\n"
    if len(line) <= _WIDTH:
        return line
    indent = " " * (len(start) - len(start.lstrip()))
    return f"{start}\n" + "".join(f"{indent}    {argument},\n" for argument in arguments) + f"{indent}{end}\n"


def operations(document: Json, models: Models) -> Iterator[Operation]:
    """All routes but the stream of events, in the order of the document. Raises ValueError for what it cannot read."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            good = {status: answer for status, answer in operation["responses"].items() if status.startswith("2")}
            media = {kind for answer in good.values() for kind in answer.get("content", {})}
            if _STREAM in media:
                continue
            yield _operation(method.upper(), path, operation, good, media, models)


def _operation(method: str, path: str, operation: Json, good: Json, media: set[str], models: Models) -> Operation:
    parameters = operation.get("parameters", ())
    query = [each for each in parameters if each["in"] == "query"]
    kinds = [models.type_of(each["schema"], answer=False) for each in query]
    body, content, needed, named = _body(operation.get("requestBody"), models)
    kind = "nothing" if not media else "json" if media == {"application/json"} else "bytes"
    if kind == "json":
        schemas = [answer["content"]["application/json"]["schema"] for answer in good.values() if "content" in answer]
        answered = models._union(models.type_of(schema, answer=True) for schema in schemas)
        answered = answered + (" | None" if len(schemas) < len(good) else "")
    else:
        answered = "bytes" if kind == "bytes" else "None"
    return Operation(
        name=snake(operation["operationId"]),
        method=method,
        path=path,
        summary=operation["summary"],
        description=" ".join(operation.get("description", "").split()),
        arguments=tuple(
            (each["name"], "int" if _is_number(each) else "Id") for each in parameters if each["in"] == "path"
        ),
        query=tuple((each["name"], snake(each["name"]), _bare(kind)) for each, kind in zip(query, kinds, strict=True)),
        body=body,
        content=content,
        body_needed=needed,
        answer=answered,
        kind=kind,
        names_itself=named,
    )


def _bare(kind: str) -> str:
    return kind.removesuffix(" | None")


def _is_number(parameter: Json) -> bool:
    return bool(parameter["schema"].get("type") == "integer")


def _body(body: Json | None, models: Models) -> tuple[str | None, tuple[str, ...], bool, bool]:
    """Annotation of a JSON body, other media types, whether it is needed, and whether it can name what it asks for."""
    if body is None:
        return None, (), False, False
    content = dict(body["content"])
    schema = content.pop("application/json", {}).get("schema")
    name = str(schema.get("$ref", "")).removeprefix(_REF) if schema is not None else ""
    named = any(_CLIENT_ID.fullmatch(key) for key in models.schemas.get(name, {}).get("properties", {}))
    kind = models.type_of(schema, answer=False) if schema is not None else None
    return kind, tuple(content), bool(body.get("required")) or bool(content), named


_HEAD = '"""{title} Generated from docs/openapi.json by clients/generate.py: do not edit."""\n'


def models_module(document: Json, models: Models) -> str:
    """All schemas, and one class for each event that a webhook tells."""
    text = _HEAD.format(title="What Zapline is asked, answers and tells.")
    text += "\nfrom __future__ import annotations\n\nfrom collections.abc import Mapping, Sequence\n"
    text += "from datetime import datetime\nfrom typing import Any, Literal, NotRequired, TypeAlias, TypedDict\n"
    text += "from uuid import UUID\n\n"
    for name, schema in sorted(models.schemas.items()):
        text += f"\n{models.declaration(name, schema)}\n"
    events = []
    for name, hook in document.get("webhooks", {}).items():
        schema = hook["post"]["requestBody"]["content"]["application/json"]["schema"]
        told = models.schemas[str(schema["$ref"]).removeprefix(_REF)]
        events.append(f"{camel(name)}Event")
        fixed = {**told["properties"], "type": {"const": name}}
        schema = {**told, "description": f"{hook['post']['summary']}.", "properties": fixed}
        text += f"\n{models._typed_dict(events[-1], schema, answer=True, optional=set())}\n"
    text += f"\nWebhookEvent: TypeAlias = {' | '.join(events) or 'Any'}\n"
    return _unused_imports_left_out(text)


def _unused_imports_left_out(text: str) -> str:
    head, _, body = text.partition("\n\n\n")
    lines = []
    for line in head.splitlines():
        start, importing, names = line.partition(" import ")
        if importing and names != "(" and "__future__" not in start:
            used = [name for name in names.split(", ") if re.search(rf"\b{name}\b", body)]
            if not used:
                continue
            line = f"{start} import {', '.join(used)}"
        lines.append(line)
    return "\n".join(lines) + "\n\n\n" + body


def operations_module(found: list[Operation], *, asynchronous: bool) -> str:
    """One class with a method for each route; what makes the request is its subclass's."""
    kind, wait = ("Async", "await ") if asynchronous else ("", "")
    start = "async def" if asynchronous else "def"
    text = _HEAD.format(title=f"Each route of the API as a method{', to be awaited' if asynchronous else ''}.")
    text += "\nfrom collections.abc import Mapping, Sequence\nfrom datetime import datetime\n"
    text += "from typing import Any, Literal\nfrom uuid import UUID\n\n"
    names = sorted({name for each in found for name in _names(each)})
    text += "from zapline_client.generated.models import (\n" + "".join(f"    {name},\n" for name in names) + ")\n\n"
    text += "Id = str | UUID\n\n\n"
    text += f"class {kind}Operations:\n"
    text += comment("A subclass says how a request is made. Each method raises what that raises.", "    ")
    text += "\n" + wrapped_call(
        f"    {start} _call(",
        [
            *("self", "method: str", "route: str", "*", "path: Mapping[str, object] | None = None"),
            *("query: Mapping[str, object] | None = None", "body: object = None", "content_type: str | None = None"),
            *('answer: Literal["json", "bytes", "nothing"] = "json"', "names_itself: bool = False"),
        ],
        ") -> Any:",
    )
    text += "        raise NotImplementedError\n"
    for each in found:
        text += "\n" + each.method_text(wait=wait)
    return _unused_imports_left_out(text)


def _names(operation: Operation) -> Iterator[str]:
    """The models that a method mentions."""
    for text in (operation.answer, operation.body or "", *(kind for _, _, kind in operation.query)):
        text = re.sub(r'"[^"]*"', "", text)
        yield from (name for name in re.findall(r"\b[A-Z]\w+", text) if name not in _NOT_MODELS)


_NOT_MODELS = {"Any", "Literal", "Sequence", "Mapping", "UUID", "None", "Id"}


def generated(document: Json) -> dict[str, str]:
    """The modules by file name."""
    models = Models(document["components"]["schemas"])
    for methods in (*document["paths"].values(), *document.get("webhooks", {}).values()):
        for operation in methods.values():
            models.note_answered(operation["responses"])
    for hook in document.get("webhooks", {}).values():
        models.note_answered(hook["post"]["requestBody"])
    found = list(operations(document, models))
    twice = {each.name for each in found if sum(other.name == each.name for other in found) > 1}
    if twice:
        raise ValueError(f"two routes have the same operationId: {', '.join(sorted(twice))}")
    return {
        "__init__.py": _HEAD.format(title="Models and operations."),
        "models.py": models_module(document, models),
        "operations.py": operations_module(found, asynchronous=False),
        "async_operations.py": operations_module(found, asynchronous=True),
    }


_SYNCHRONOUS = {
    "asynccontextmanager": "contextmanager",
    "aclosing": "closing",
    "aclose": "close",
    "aread": "read",
    "aiter_bytes": "iter_bytes",
}
_BLOCKING = (
    (r'\A""".*?"""\n', '"""The client that blocks; generated from async_client.py: do not edit."""\n'),
    (r"import random\n", "import random\nimport time\n"),
    (r"import anyio\n", ""),
    (r"\banyio\.sleep\b", "time.sleep"),
    (r"AsyncGenerator, AsyncIterator, Awaitable, Callable, ", "Callable, Generator, Iterator, "),
    (r"Awaitable\[(Mapping\[str, Any\])\]", r"\1"),
    (r"generated\.async_operations import AsyncOperations, Id", "generated.operations import Id, Operations"),
    (r"A call that is cancelled may have been done\.", "May be used by several threads."),
    (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
    (r"\b(async def|async with|async for)\b", lambda found: str(found[0]).removeprefix("async ")),
    (r"\bawait ", ""),
    (r"\b(asynccontextmanager|aclosing|aclose|aread|aiter_bytes)\b", lambda found: _SYNCHRONOUS[found[0]]),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\bAsync(Zapline|Operations|Client|BaseTransport|Generator|Iterator)\b", r"\1"),
    (r"for item in (.*):\n +yield item\n", r"yield from \1\n"),
)
"""What a call that blocks has in place of what is awaited, in this order."""


def blocking_client(awaited: str) -> str:
    """The module of the client that blocks, from that of the client to be awaited. Raises ValueError for a rest."""
    text = awaited
    for pattern, replacement in _BLOCKING:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL if pattern.startswith(r"\A") else 0)
    rest = re.search(r"(?i)(?<!from )\b(\w*async(?!_client\.py)\w*|await\w*|anyio)\b", text)
    if rest is not None:
        raise ValueError(f"{rest[0]} stays in the client that blocks: say in clients/generate.py what becomes of it")
    return text


def without_problems(document: Json) -> Json:
    """The document with good answers alone and without examples: what the types of TypeScript are made of."""
    paths = {
        path: {
            method: {
                **{name: part for name, part in operation.items() if not name.startswith("x-")},
                "responses": {code: part for code, part in operation["responses"].items() if code < "400"},
            }
            for method, operation in methods.items()
        }
        for path, methods in document["paths"].items()
    }
    return {**document, "paths": paths}


def write_typescript(document: Json, digest: str) -> None:
    """Have openapi-typescript write the types. Raises OSError, CalledProcessError."""
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm is needed for the types of TypeScript")
    if not (TYPESCRIPT / "node_modules").exists():
        subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=TYPESCRIPT, check=True)  # noqa: S603
    with tempfile.TemporaryDirectory() as place:
        reduced, written = Path(place) / "openapi.json", Path(place) / "schema.ts"
        reduced.write_text(json.dumps(without_problems(document)))
        command = [npm, "exec", "--no", "--", "openapi-typescript", str(reduced), "--default-non-nullable=false"]
        subprocess.run([*command, "--output", str(written)], cwd=TYPESCRIPT, check=True)  # noqa: S603
        body = written.read_text()
    (TYPESCRIPT / "src" / "schema.ts").write_text(typescript_head(digest, body) + body)


def typescript_head(digest: str, body: str) -> str:
    """The first line of the types: it tells the document they are of, and whether anybody has changed them."""
    own = hashlib.sha256(body.encode()).hexdigest()
    told = f"Generated from docs/openapi.json (SHA-256 {digest}), without this line SHA-256 {own}"
    return f"// {told}: run `make clients`.\n"


def main(arguments: list[str]) -> None:
    """Write the modules of the Python client, and with ``--typescript`` the types of the other."""
    raw = DOCUMENT.read_bytes()
    document = json.loads(raw)
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, text in generated(document).items():
        (TARGET / name).write_text(text)
    (CLIENT / "client.py").write_text(blocking_client((CLIENT / "async_client.py").read_text()))
    if "--typescript" in arguments:
        write_typescript(document, hashlib.sha256(raw).hexdigest())


if __name__ == "__main__":
    main(sys.argv[1:])
