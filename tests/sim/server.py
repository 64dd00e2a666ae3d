"""The PostgreSQL of a simulation: embedded, in memory where that is possible, with the template in it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from zapline.sandbox.embedded_postgres.server import PostgresServer

from .database import make_template

IN_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Place:
    """Where seeds run: the server's URL, a directory for disks, and the file that is the server's clock."""

    server: str
    directory: Path
    clock: Path


@contextmanager
def simulation_server() -> Iterator[Place]:
    """Start a server of its own, and make its template."""
    root = Path(tempfile.mkdtemp(prefix="zaplinesim", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    root.chmod(0o755)  # as root the server runs as another user, who reads the clock here
    server = PostgresServer(root / "pg", durable=False)
    server.open()
    try:
        server.start()
        yield prepared(server.url, root)
    finally:
        server.stop()
        server.close()
        shutil.rmtree(root, ignore_errors=True)


def prepared(url: str, root: Path) -> Place:
    """Make the template on a running server; ``root`` is readable for the server's user."""
    clock = root / "clock"
    make_template(url, clock)
    return Place(url, root, clock)
