"""Named SQL statements: loads the ``.sql`` file beside a module and checks the names of their arguments."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_ARGUMENT = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its name, its sentence, its text for the driver, and what it must be given."""

    name: str
    sentence: str
    sql: str
    arguments: frozenset[str]

    @property
    def answers(self) -> bool:
        """Whether rows come back."""
        return self.sql.startswith("select") or "\nreturning " in self.sql

    def bind(self, **arguments: object) -> dict[str, object]:
        """Return the arguments, or raise TypeError where their names are not the statement's."""
        if arguments.keys() != self.arguments:
            wrong = ", ".join(sorted(arguments.keys() ^ self.arguments))
            raise TypeError(f"statement {self.name}: wrong or missing arguments: {wrong}")
        return arguments


@cache
def load(module: str) -> Mapping[str, Statement]:
    """All statements of the ``.sql`` file that lies beside a module and has its name, by name."""
    package, _, name = module.rpartition(".")
    text = resources.files(package).joinpath(f"{name}.sql").read_text("utf-8")
    return {statement.name: statement for statement in parse(text)}


def parse(text: str) -> list[Statement]:
    """Split a file at its ``-- name:`` lines. A statement without a sentence of its own is refused."""
    parts = _NAME.split(text)[1:]
    found = []
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        lines = body.strip().splitlines()
        comments = [line[2:].strip() for line in lines if line.startswith("--")]
        sql = "\n".join(line for line in lines if not line.startswith("--")).strip().rstrip(";")
        if not comments or not sql:
            raise ValueError(f"statement {name} has no sentence or no text")
        found.append(Statement(name, " ".join(comments), sql, frozenset(_ARGUMENT.findall(sql))))
    return found
