"""Runs a PostgreSQL of our own: the embedded binaries, started as a direct child on a loopback port.

The server's files stand beside its data directory: ``NAME.password``, ``NAME.log``, ``NAME.lock``. Only the
wheel's programs are used, not its launcher. ``PostgresServer`` blocks; ``EmbeddedPostgres`` is its trio skin.
"""

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Self

import trio

from zapline.sandbox.embedded_postgres.host import (
    POLL_SECONDS,
    EmbeddedPostgresFailed,
    Process,
    child_user,
    death_wrapper,
    free_port,
    processes,
    programs,
    reachable,
    send,
    until,
)

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresFailed", "PostgresServer"]

NAME = "zapline"
"""The user and the database."""
# The server answers 0.1 s after its start; crash recovery after a long load may take some seconds.
READY_SECONDS = 60.0
# A fast shutdown only waits for a checkpoint.
STOP_SECONDS = 20.0
GONE_SECONDS = 10.0
INITDB_SECONDS = 120.0
PORT_TRIES = 5


class PostgresServer:
    """One data directory and, between ``start`` and ``stop``, the server on it.

    As root the server runs as the user ``nobody``. If that user cannot reach ``data_dir`` (a directory above
    it is closed), the data lie in a directory of their own under /var/tmp instead; ``data_dir`` tells.
    ``durable=False`` turns fsync off: a killed server loses nothing, a killed machine may.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None, durable: bool = True) -> None:
        self.data_dir = Path(data_dir).absolute()
        self._port = port
        self._may_move = port is None
        self._durable = durable
        self._user, self._group = child_user()
        self._lock = -1
        self._child: subprocess.Popen[bytes] | None = None
        self._bin = Path()
        self._password = ""

    @property
    def url(self) -> str:
        return f"postgresql://{NAME}:{self._password}@127.0.0.1:{self._port}/{NAME}"

    @property
    def pid(self) -> int | None:
        """The postmaster's, while it runs."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @property
    def log_path(self) -> Path:
        return self._beside("log")

    def open(self) -> None:
        """Take the directory for this process, stop what a dead sandbox left, and initialise if empty."""
        asked, self.data_dir = self.data_dir, reachable(self.data_dir, self._user)
        self._lock = os.open(self._beside("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise EmbeddedPostgresFailed(f"another sandbox runs on {self.data_dir}: stop it first") from None
        try:
            self._bin = programs(self.data_dir.parent, self._user)
            self._clear_remains()
            if self.data_dir != asked:
                self._drop_orphan(asked)
            self._read_or_make_cluster()
        except BaseException:
            self.close()
            raise

    def _drop_orphan(self, asked: Path) -> None:
        """A stand-in outlives the directory it stands for: where that was removed and made anew, it begins anew too."""
        sign = asked.with_name(f"{asked.name}.elsewhere")
        if self.data_dir.exists() and not any(asked.parent.iterdir()):
            shutil.rmtree(self.data_dir)
        sign.write_text(f"{self.data_dir}\n")

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def launch(self) -> None:
        """Start the postmaster as a child of the calling thread, which must outlive it; see ``answers``."""
        if self._port is None:
            self._port = free_port()
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                [*death_wrapper(), str(self._bin / "postgres"), "-D", str(self.data_dir), *self._settings()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C on the terminal is for us, and we stop the server last
                env=_environment(),
                cwd="/",
                user=self._user,
                group=self._group,
                extra_groups=None if self._user is None else [],
            )

    def answers(self) -> bool:
        """Whether the launched server takes connections. Raises when it has died instead."""
        assert self._child is not None
        if self._child.poll() is not None:
            raise EmbeddedPostgresFailed(f"PostgreSQL did not start; the end of {self.log_path}:\n{self._tail()}")
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        # The last line is the postmaster's own word, as pg_ctl reads it.
        ready = len(lines) >= 8 and lines[0] == str(self._child.pid) and lines[7].strip() == "ready"
        self._may_move &= not ready  # from now on others know the port
        return ready

    def start(self) -> None:
        """Launch and wait. On a freely chosen port, a lost race for it is tried again."""
        for tries_left in reversed(range(PORT_TRIES)):
            self.launch()
            try:
                until(self.answers, READY_SECONDS, "start of PostgreSQL")
            except EmbeddedPostgresFailed:
                if not self.retry_elsewhere(tries_left):
                    raise
            else:
                return

    def retry_elsewhere(self, tries_left: int) -> bool:
        """After a failed start: whether it failed for the port, and another one may be taken."""
        taken = "could not bind" in self._tail()
        self.stop()
        if not (tries_left and taken and self._may_move):
            return False
        self._port = None
        return True

    def stop(self) -> None:
        """Fast shutdown; a server that does not obey is killed. Nothing to do when it does not run."""
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self._child = None

    def kill(self) -> None:
        """SIGKILL to the postmaster and all its processes; returns when they are gone."""
        child = self._child
        if child is None:
            return
        family = [p.pid for p in processes() if p.parent == child.pid]
        child.kill()
        child.wait(GONE_SECONDS)
        self._child = None
        self._kill_all(family)

    # -- inside ------------------------------------------------------------------------------------------

    def _beside(self, kind: str) -> Path:
        return self.data_dir.with_name(f"{self.data_dir.name}.{kind}")

    @property
    def _cluster_name(self) -> str:
        """Stands in the title of each of the server's processes, so that they can be told from others'."""
        return f"{NAME}-{sha256(os.fsencode(self.data_dir)).hexdigest()[:12]}"

    def _settings(self) -> Sequence[str]:
        wanted = {
            "port": self._port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "cluster_name": self._cluster_name,
            "timezone": "UTC",
            "log_timezone": "UTC",
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
        }
        return [word for name, value in wanted.items() for word in ("-c", f"{name}={value}")]

    def _tail(self) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-8:])

    def _ours(self) -> list[Process]:
        """Live processes of a server on this data directory, whoever started it."""
        title, data = f"postgres: {self._cluster_name}: ", f" -D {self.data_dir} "
        found = []
        for process in processes():
            program = process.command.split(" ", 1)[0]
            if process.command.startswith(title) or (
                Path(program).name == "postgres" and data in f"{process.command} "
            ):
                found.append(process)
        return found

    def _clear_remains(self) -> None:
        """Stop a server whose sandbox was killed, and remove the mark of a dead one.

        The directory's lock is held, so no living sandbox owns what is found here. PostgreSQL would trust a
        mark whose pid belongs to somebody else by now, as it happens in containers after each restart.
        """
        for process in self._ours():
            if not process.command.startswith("postgres: "):
                send(process.pid, signal.SIGINT)
        try:
            until(lambda: not self._ours(), STOP_SECONDS, "end of the server left behind")
        except EmbeddedPostgresFailed:
            self._kill_all([process.pid for process in self._ours()])
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _kill_all(self, pids: Sequence[int]) -> None:
        """Of these, kill those that are still ours, and wait until none is left."""

        def left() -> set[int]:
            return {process.pid for process in self._ours()} & set(pids)

        for pid in left():
            send(pid, signal.SIGKILL)
        until(lambda: not left(), GONE_SECONDS, "end of the server's processes")

    def _read_or_make_cluster(self) -> None:
        secret = self._beside("password")
        known = secret.read_text().strip() if secret.exists() else ""
        if (self.data_dir / "PG_VERSION").exists():
            if not known:
                known = _new_secret(secret)
                self._single(self.data_dir, f"alter role {NAME} password '{known}'")
            self._password = known
            return
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise EmbeddedPostgresFailed(f"{self.data_dir} is not empty and holds no cluster: move it away")
        self._password = _new_secret(secret)
        fresh = self._beside("new")  # renamed when complete: a killed initdb leaves no half cluster
        shutil.rmtree(fresh, ignore_errors=True)
        if self.data_dir.exists():
            if any(self.data_dir.iterdir()):
                raise EmbeddedPostgresFailed(f"{self.data_dir} is not empty and holds no cluster: move it away")
            self.data_dir.rmdir()
        fresh.mkdir(mode=0o700)
        pass_file = self._beside("initdb")
        pass_file.unlink(missing_ok=True)
        os.close(os.open(pass_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            pass_file.write_text(self._password)
            if self._user is not None:
                shutil.chown(fresh, self._user, self._group)
                shutil.chown(pass_file, self._user)
            self._call(
                ["initdb", "-D", str(fresh), "-U", NAME, "-A", "scram-sha-256", f"--pwfile={pass_file}"]
                + ["-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
                + ([] if self._durable else ["--no-sync"]),
            )
        finally:
            pass_file.unlink()
        self._single(fresh, f"create database {NAME}")
        fresh.rename(self.data_dir)

    def _single(self, data_dir: Path, statement: str) -> None:
        """Run a statement on a server that is not running, without a password."""
        self._call(["postgres", "--single", "-D", str(data_dir), "postgres"], stdin=f"{statement}\n")

    def _call(self, command: Sequence[str], stdin: str = "") -> None:
        done = subprocess.run(
            [str(self._bin / command[0]), *command[1:]],
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INITDB_SECONDS,
            check=False,
            env=_environment(),
            user=self._user,
            group=self._group,
            extra_groups=None if self._user is None else [],
            cwd="/",
        )
        with self.log_path.open("ab") as log:
            log.write(done.stdout)
        if done.returncode or b"ERROR:" in done.stdout or b"FATAL:" in done.stdout:
            told = done.stdout.decode(errors="replace").strip()[-800:]
            raise EmbeddedPostgresFailed(f"{command[0]} failed on {self.data_dir}: {told}")


class EmbeddedPostgres:
    """``PostgresServer`` for trio. Only made by ``running``."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    @classmethod
    @asynccontextmanager
    async def running(cls, data_dir: Path, *, port: int | None = None, durable: bool = True) -> AsyncIterator[Self]:
        """Initialise if empty, start, and stop at the end, cancelled or not (within about 20 s).

        Raises ``EmbeddedPostgresFailed``.
        """
        server = PostgresServer(data_dir, port=port, durable=durable)
        await trio.to_thread.run_sync(server.open)
        try:
            embedded = cls(server)
            await embedded.start()
            yield embedded
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(server.stop)
            server.close()

    @property
    def url(self) -> str:
        """``postgresql://zapline:PASSWORD@127.0.0.1:PORT/zapline``; the same after a restart."""
        return self._server.url

    @property
    def pid(self) -> int | None:
        """The postmaster's; None while it does not run."""
        return self._server.pid

    @property
    def data_dir(self) -> Path:
        return self._server.data_dir

    async def start(self) -> None:
        """Start again on the same port; returns when it takes connections. Nothing to do if it runs."""
        if self._server.pid is not None:
            return
        for tries_left in reversed(range(PORT_TRIES)):
            self._server.launch()  # here and not in a thread, for the server dies with its thread
            try:
                deadline = trio.current_time() + READY_SECONDS
                while not self._server.answers():
                    if trio.current_time() > deadline:
                        raise EmbeddedPostgresFailed(f"start of PostgreSQL: not within {READY_SECONDS:g} s")
                    await trio.sleep(POLL_SECONDS)
            except EmbeddedPostgresFailed:
                if not self._server.retry_elsewhere(tries_left):
                    raise
            else:
                return

    async def kill(self) -> None:
        """SIGKILL to the whole server; returns when it can be started again."""
        await trio.to_thread.run_sync(self._server.kill)

    async def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back."""
        await trio.to_thread.run_sync(self._server.stop)


def _environment() -> dict[str, str]:
    """Nothing of ours: PGPORT and the like would lead the programs astray."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _new_secret(path: Path) -> str:
    secret = secrets.token_urlsafe(24)
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret)
    return secret
