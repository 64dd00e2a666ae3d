"""Named SQL statements: loads the ``.sql`` file beside a module and runs its statements by name."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, TypeVar

import msgspec

from zapline.sql.postgres.connection import Connection, Row
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.psycopg_on_trio import Json

_HEADING = re.compile(r"^-- (name|fragment): (\w+)$", re.MULTILINE)
_INCLUDE = re.compile(r"^ *-- include: (.+?);?$", re.MULTILINE)
_ARGUMENT = re.compile(r"%\((\w+)\)s")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its name, the comment that describes it, its text, and the names of its arguments."""

    name: str
    sentence: str
    sql: str
    arguments: frozenset[str]

    def bind(self, arguments: dict[str, object]) -> dict[str, object]:
        """Return the arguments, or raise TypeError where their names are not the statement's."""
        if arguments.keys() != self.arguments:
            wrong = ", ".join(sorted(arguments.keys() ^ self.arguments))
            raise TypeError(f"statement {self.name}: wrong or missing arguments: {wrong}")
        return arguments


class Queries:
    """The statements of the ``.sql`` file that lies beside a module and has its name: ``Queries(__name__)``.

    The methods raise what the connection raises, and TypeError for arguments that are not the statement's.
    """

    def __init__(self, module: str) -> None:
        package, _, name = module.rpartition(".")
        text = resources.files(package).joinpath(f"{name}.sql").read_text("utf-8")
        self._statements = {statement.name: statement for statement in parse(text)}

    def __iter__(self) -> Iterator[Statement]:
        return iter(self._statements.values())

    async def rows(self, conn: Connection, name: str, /, **arguments: object) -> list[Row]:
        statement = self._statements[name]
        return await conn.fetch(statement.sql, statement.bind(arguments))

    async def one(self, conn: Connection, name: str, /, **arguments: object) -> Any:
        """The first row, or None."""
        statement = self._statements[name]
        return await conn.fetch_one(statement.sql, statement.bind(arguments))

    async def execute(self, conn: Connection, name: str, /, **arguments: object) -> int:
        """Return the number of rows that the statement changed."""
        statement = self._statements[name]
        return await conn.execute(statement.sql, statement.bind(arguments))

    async def run_batch(self, conn: Connection, name: str, rows: Sequence[Mapping[str, object]]) -> list[Row]:
        """Run a statement once over many rows, sent as one jsonb argument; an empty list is not sent at all.

        Returns the rows that come back. Raises StatementFailed (22000) for a value that JSON cannot hold.
        """
        if not rows:
            return []
        return await self.rows(conn, name, rows=Json(encode_row(rows)))


def from_row(record: Callable[..., T], row: Row, **values: object) -> T:
    """Build a slotted dataclass from columns of the same names; ``values`` are used in place of columns."""
    names: Sequence[str] = record.__slots__  # type: ignore[attr-defined]
    return record(**{name: values[name] if name in values else getattr(row, name) for name in names})


def encode_row(row: object) -> bytes:
    """One row, or many, as JSON. Raises StatementFailed (22000) for a value that JSON cannot hold."""
    try:
        return msgspec.json.encode(row)
    except (UnicodeEncodeError, OverflowError) as error:
        # A lone surrogate, or a number of more than 64 bits.
        raise StatementFailed("22000", f"a value cannot be written as JSON: {type(error).__name__}") from None


def as_json(value: object) -> Json:
    """A value as one jsonb parameter."""
    return Json(msgspec.json.encode(value))


def parse(text: str) -> list[Statement]:
    """Split a file at its ``-- name:`` and ``-- fragment:`` lines; ``-- include:`` inserts an earlier fragment.

    Raises KeyError for an unknown fragment, and ValueError for a statement without a comment.
    """
    _, *parts = _HEADING.split(text)
    fragments: dict[str, str] = {}
    statements = []
    for kind, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        lines = _INCLUDE.sub(lambda match: fragments[match[1]], body).strip().splitlines()
        comments = [line[2:].strip() for line in lines if line.startswith("--")]
        sql = "\n".join(line for line in lines if not line.startswith("--")).strip().rstrip(";")
        if not comments or not sql:
            raise ValueError(f"statement {name} has no comment or no text")
        if kind == "fragment":
            fragments[name] = sql
        else:
            statements.append(Statement(name, " ".join(comments), sql, frozenset(_ARGUMENT.findall(sql))))
    return statements
