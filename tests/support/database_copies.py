"""Sets a database back to an earlier moment under the same name, as a restore or a failover does."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count

import psycopg
from psycopg import sql

_numbers = count(1)


@dataclass
class DatabaseCopies:
    """Copies of one database; all its connections are cut for each copy and each return."""

    url: str
    names: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def copy(self) -> str:
        """Copy the database as it is now; returns the name of the copy."""
        name = f"{self.name}_copy_{next(_numbers)}"
        self._run("create database {} template {} strategy file_copy", name, self.name)
        self.names.append(name)
        return name

    def set_back(self, to: str) -> None:
        """Put the copy in the place of the database."""
        gone = f"{self.name}_gone_{next(_numbers)}"
        self._run("alter database {} rename to {}", self.name, gone)
        self._run("alter database {} rename to {}", to, self.name)
        self.names.append(gone)

    def _run(self, statement: str, *names: str) -> None:
        with closing(psycopg.connect(self._server, autocommit=True, connect_timeout=5)) as admin:
            admin.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", (self.name,)
            )
            admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    @property
    def _server(self) -> str:
        return self.url.rpartition("/")[0] + "/postgres"

    def drop(self) -> None:
        with closing(psycopg.connect(self._server, autocommit=True, connect_timeout=5)) as admin:
            for name in self.names:
                admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


@contextmanager
def database_copies(url: str) -> Iterator[DatabaseCopies]:
    """Copies of this database, dropped at the end."""
    copies = DatabaseCopies(url)
    try:
        yield copies
    finally:
        copies.drop()
