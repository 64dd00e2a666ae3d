"""Creates the tables of a journal, and puts a new journal in the place of a damaged one."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from zapline.domain.errors import MustNotWrite
from zapline.sql.journal.salvage import Salvage, renew_first_page, salvage
from zapline.sql.journal.schema import PAGE_BYTES, SCHEMA, SCHEMA_VERSION, UPGRADES, connect


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables of a new file, or bring an older one to this format. Raises MustNotWrite for a later one."""
    connection.execute(f"pragma page_size = {PAGE_BYTES}")
    connection.execute("pragma journal_mode = wal")
    connection.execute("begin immediate")
    version = connection.execute("pragma user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise MustNotWrite(
            f"the journal {path} has format {version}, this release knows {SCHEMA_VERSION}: "
            "run the release that wrote it"
        )
    if version == 0:
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute("insert into meta values ('journal_id', ?), ('starts', 0)", (str(uuid4()),))
    for older in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
        for statement in UPGRADES[older]:
            connection.execute(statement)
    connection.execute(f"pragma user_version = {SCHEMA_VERSION}")
    connection.execute("commit")


def replace_damaged(path: Path, reached: int) -> Salvage:
    """Salvage the file into a new one with an id of its own, and put that in its place.

    After a crash or an error on the way nothing is lost. ``reached``: the highest number that was
    acknowledged. Raises OSError and sqlite3.Error.
    """
    new = path.with_name(path.name + ".new")
    with _removed(new):
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with closing(connect(new)) as fresh:
            prepare(fresh, new)
        renew_first_page(path, new)
        with closing(connect(new)) as fresh:
            fresh.execute("begin immediate")
            found = salvage(path, fresh, reached, 0)
            if found.snapshot is not None:
                fresh.execute("insert into meta values ('snapshot', ?)", (found.snapshot,))
            fresh.execute("commit")
            fresh.execute("pragma wal_checkpoint(truncate)").fetchall()
        os.rename(new, _salvaged(path))
    finish_replacement(path)
    return found


def finish_replacement(path: Path) -> None:
    """Set the damaged file aside and put the salvaged one in its place; also after a crash. Raises OSError."""
    salvaged = _salvaged(path)
    if not salvaged.exists():
        return
    aside = path.with_name(f"damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid4().hex[:6]}")
    aside.mkdir(mode=0o700)
    for name in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{name}", aside / f"{path.name}{name}")
    os.rename(salvaged, path)


def damaged_files(directory: Path) -> list[Path]:
    """Directories in which damaged journals were set aside."""
    return sorted(directory.glob("damaged-*"))


def _salvaged(path: Path) -> Path:
    return path.with_name(path.name + ".salvaged")


@contextmanager
def _removed(new: Path) -> Iterator[None]:
    """Remove a file that an earlier try left, and this one's unless it was put into its place."""
    files = [new, Path(f"{new}-wal"), Path(f"{new}-shm")]
    for file in files:
        file.unlink(missing_ok=True)
    try:
        yield
    finally:
        for file in files:
            file.unlink(missing_ok=True)
