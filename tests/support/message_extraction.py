"""Finds the texts of Python modules that the console translates, as a method of Babel's extraction."""

import ast
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any

_INTERNAL = frozenset(
    {"AssertionError", "DatabaseUnavailable", "EvolutionFailure", "NotApplied", "StoreUnsteady", "ValueError"}
)
"""Errors whose own text no page shows."""
_PROBLEMS = frozenset({"Problem", "invalid"})
_Found = tuple[int, str | None, str | tuple[str | None, ...], list[str]]


def extract_python(
    source: IO[bytes], keywords: Collection[str], comment_tags: Collection[str], options: Mapping[str, Any]
) -> Iterator[_Found]:
    """Yield (line, keyword, texts, comments) of every text that is marked, and the texts of errors.

    Rooms that know nothing of translation do not mark: their errors are found where they are raised or made, and
    their tables of sentences by name, in the option ``tables``.
    """
    tables = set(str(options.get("tables", "")).split())
    for node in ast.walk(ast.parse(source.read())):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in keywords:
                yield node.lineno, name, tuple(map(_text, node.args)), []
            case ast.Call(func=ast.Name(id=name)) if name in _PROBLEMS:
                yield from _sentences(node.args)
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name)) as call) if name not in _INTERNAL | _PROBLEMS:
                yield from _sentences(call.args)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if name in tables:
                yield from _sentences([node.value])


def _sentences(nodes: list[ast.expr | None]) -> Iterator[_Found]:
    """Texts of more than one word; names and codes have no spaces. Keys of tables are codes too."""
    for node in nodes:
        match node:
            case ast.Constant(value=str(text)) if " " in text:
                yield node.lineno, None, text, []
            case ast.Dict(values=inner) | ast.Call(args=inner):
                yield from _sentences([*inner])


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
