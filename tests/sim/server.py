"""The PostgreSQL of a simulation: embedded, in memory where that is possible, with the template in it."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from zapline.sandbox.embedded_postgres.server import PostgresServer

from .database import make_template
from .sessions import Sessions

IN_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Place:
    """Where seeds run: the server's URL, a directory for disks, and the file that is the server's clock."""

    server: str
    directory: Path
    clock: Path
    kept: Sessions = field(default_factory=Sessions)
    """What one process keeps from seed to seed."""


SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "autovacuum": "off",
    "track_activities": "off",
    "track_counts": "off",
    "update_process_title": "off",
    "io_method": "sync",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "checkpoint_timeout": "1h",
    "max_wal_size": "1GB",
    "bgwriter_lru_maxpages": "0",
    "jit": "off",
    "synchronous_commit": "off",
    # Tables of some dozens of rows, read some dozens of times: to look for a better plan costs more than it gains.
    "plan_cache_mode": "force_generic_plan",
    "from_collapse_limit": "1",
    "join_collapse_limit": "1",
}
"""What costs time and changes no row: the server is not killed, and its files are in memory."""


class _Server(PostgresServer):
    """Reached by a socket in its directory, which nobody else can enter, and without a password."""

    @property
    def url(self) -> str:
        return f"postgresql://zapline@{quote(str(self._sockets), safe='')}:{self._port}/zapline"

    @property
    def _sockets(self) -> Path:
        return self.data_dir.with_name("sockets")

    def _settings(self) -> Sequence[str]:
        given = SETTINGS | {"unix_socket_directories": str(self._sockets)}
        return [*super()._settings(), *(part for name, value in given.items() for part in ("-c", f"{name}={value}"))]

    def open(self) -> None:
        super().open()
        self._sockets.mkdir(mode=0o700)
        if self._user is not None:
            shutil.chown(self._sockets, self._user, self._group)
        (self.data_dir / "pg_hba.conf").write_text("local all all trust\n")


@contextmanager
def simulation_server() -> Iterator[Place]:
    """Start a server of its own, and make its template."""
    root = Path(tempfile.mkdtemp(prefix="zaplinesim", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    root.chmod(0o755)  # as root the server runs as another user, who reads the clock here
    server = _Server(root / "pg", durable=False)
    server.open()
    try:
        server.start()
        clock = root / "clock"
        make_template(server.url, clock)
        yield Place(server.url, root, clock)
    finally:
        server.stop()
        server.close()
        shutil.rmtree(root, ignore_errors=True)
