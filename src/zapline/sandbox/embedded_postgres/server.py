"""Runs an embedded PostgreSQL: the binaries of a wheel, started as a direct child on a loopback port.

The server's files are beside its data directory: ``NAME.password``, ``NAME.log``, ``NAME.lock``. Only the
wheel's programs are used, not its launcher. ``PostgresServer`` blocks; ``EmbeddedPostgres`` wraps it for trio.
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
    free_port,
    pdeathsig_prefix,
    program_directory,
    reachable_directory,
    running_processes,
    send_signal,
    wait_until,
)

NAME = "zapline"
"""Name of the user and of the database."""
# The server answers 0.1 s after its start; crash recovery after a long load may take some seconds.
READY_SECONDS = 60.0
# A fast shutdown only waits for a checkpoint.
STOP_SECONDS = 20.0
EXIT_SECONDS = 10.0
INITDB_SECONDS = 120.0
PORT_ATTEMPTS = 5


class PostgresServer:
    """One data directory and, between ``start`` and ``stop``, the server on it.

    As root the server runs as the user ``nobody``. If that user cannot enter a directory above ``data_dir``,
    the data are in a directory under /var/tmp instead, and ``data_dir`` is changed to it.
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
        """Process id of the postmaster while it runs, else None."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @property
    def log_path(self) -> Path:
        return self._sibling("log")

    def open(self) -> None:
        """Lock the directory, stop a leftover server, initialise if empty. Raises ``EmbeddedPostgresFailed``."""
        requested, self.data_dir = self.data_dir, reachable_directory(self.data_dir, self._user)
        self._lock = os.open(self._sibling("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise EmbeddedPostgresFailed(f"another sandbox runs on {self.data_dir}: stop it first") from None
        try:
            self._bin = program_directory(self.data_dir.parent, self._user)
            self._clean_up_after_crash()
            if self.data_dir != requested:
                self._drop_orphaned_substitute(requested)
            self._load_or_create_cluster()
        except BaseException:
            self.close()
            raise

    def _drop_orphaned_substitute(self, requested: Path) -> None:
        """Remove the data of a substitute whose original directory was removed and created again."""
        marker = requested.with_name(f"{requested.name}.elsewhere")
        if self.data_dir.exists() and not any(requested.parent.iterdir()):
            shutil.rmtree(self.data_dir)
        marker.write_text(f"{self.data_dir}\n")

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def launch(self) -> None:
        """Start the postmaster as a child of the calling thread, which must outlive it; see ``is_ready``."""
        if self._port is None:
            self._port = free_port()
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                [*pdeathsig_prefix(), str(self._bin / "postgres"), "-D", str(self.data_dir), *self._settings()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C on the terminal reaches us alone; we stop the server last
                env=_clean_environment(),
                cwd="/",
                user=self._user,
                group=self._group,
                extra_groups=None if self._user is None else [],
            )

    def is_ready(self) -> bool:
        """Whether the server accepts connections. Raises ``EmbeddedPostgresFailed`` if it has exited."""
        assert self._child is not None
        if self._child.poll() is not None:
            raise EmbeddedPostgresFailed(f"PostgreSQL did not start; the end of {self.log_path}:\n{self._log_tail()}")
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        # The last line is the postmaster's status, as pg_ctl reads it.
        ready = len(lines) >= 8 and lines[0] == str(self._child.pid) and lines[7].strip() == "ready"
        self._may_move &= not ready  # from now on the port is known to others
        return ready

    def start(self) -> None:
        """Launch and wait until ready; a freely chosen port that is taken meanwhile is replaced."""
        for attempts_left in reversed(range(PORT_ATTEMPTS)):
            self.launch()
            try:
                wait_until(self.is_ready, READY_SECONDS, "start of PostgreSQL")
            except EmbeddedPostgresFailed:
                if not self.retry_on_another_port(attempts_left):
                    raise
            else:
                return

    def retry_on_another_port(self, attempts_left: int) -> bool:
        """After a failed start: whether the port was taken and another one may be chosen."""
        taken = "could not bind" in self._log_tail()
        self.stop()
        if not (attempts_left and taken and self._may_move):
            return False
        self._port = None
        return True

    def stop(self) -> None:
        """Fast shutdown; a server that does not stop in time is killed. Does nothing if none runs."""
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
        """Send SIGKILL to the postmaster and all its processes; returns when they have exited."""
        child = self._child
        if child is None:
            return
        children = [p.pid for p in running_processes() if p.parent == child.pid]
        child.kill()
        child.wait(EXIT_SECONDS)
        self._child = None
        self._kill_all(children)

    # -- internals ---------------------------------------------------------------------------------------

    def _sibling(self, kind: str) -> Path:
        return self.data_dir.with_name(f"{self.data_dir.name}.{kind}")

    @property
    def _cluster_name(self) -> str:
        """Part of the title of each of the server's processes, which identifies them."""
        return f"{NAME}-{sha256(os.fsencode(self.data_dir)).hexdigest()[:12]}"

    def _settings(self) -> Sequence[str]:
        settings = {
            "port": self._port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "cluster_name": self._cluster_name,
            "timezone": "UTC",
            "log_timezone": "UTC",
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
        }
        return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]

    def _log_tail(self) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-8:])

    def _own_processes(self) -> list[Process]:
        """List the live processes of a server on this data directory, whoever started it."""
        title, data = f"postgres: {self._cluster_name}: ", f" -D {self.data_dir} "
        result = []
        for process in running_processes():
            program = process.command.split(" ", 1)[0]
            if process.command.startswith(title) or (
                Path(program).name == "postgres" and data in f"{process.command} "
            ):
                result.append(process)
        return result

    def _clean_up_after_crash(self) -> None:
        """Stop a server whose sandbox was killed, and remove a stale ``postmaster.pid``.

        The directory's lock is held, so no live sandbox owns such a server. PostgreSQL would trust a pid file
        whose pid another process has by now, as happens in containers after each restart.
        """
        for process in self._own_processes():
            if not process.command.startswith("postgres: "):
                send_signal(process.pid, signal.SIGINT)
        try:
            wait_until(lambda: not self._own_processes(), STOP_SECONDS, "end of the server left behind")
        except EmbeddedPostgresFailed:
            self._kill_all([process.pid for process in self._own_processes()])
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _kill_all(self, pids: Sequence[int]) -> None:
        """Kill those of these processes that still belong to the server, and wait until they have exited."""

        def remaining() -> set[int]:
            return {process.pid for process in self._own_processes()} & set(pids)

        for pid in remaining():
            send_signal(pid, signal.SIGKILL)
        wait_until(lambda: not remaining(), EXIT_SECONDS, "end of the server's processes")

    def _load_or_create_cluster(self) -> None:
        password_file = self._sibling("password")
        password = password_file.read_text().strip() if password_file.exists() else ""
        if (self.data_dir / "PG_VERSION").exists():
            if not password:
                password = _write_new_password(password_file)
                self._run_single_user(self.data_dir, f"alter role {NAME} password '{password}'")
            self._password = password
            return
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise EmbeddedPostgresFailed(f"{self.data_dir} is not empty and holds no cluster: move it away")
        self._password = _write_new_password(password_file)
        fresh = self._sibling("new")  # renamed when complete, so that a killed initdb leaves no partial cluster
        shutil.rmtree(fresh, ignore_errors=True)
        if self.data_dir.exists():
            self.data_dir.rmdir()
        fresh.mkdir(mode=0o700)
        pass_file = self._sibling("initdb")
        pass_file.unlink(missing_ok=True)
        os.close(os.open(pass_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            pass_file.write_text(self._password)
            if self._user is not None:
                shutil.chown(fresh, self._user, self._group)
                shutil.chown(pass_file, self._user)
            self._run_program(
                ["initdb", "-D", str(fresh), "-U", NAME, "-A", "scram-sha-256", f"--pwfile={pass_file}"]
                + ["-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
                + ([] if self._durable else ["--no-sync"]),
            )
        finally:
            pass_file.unlink()
        self._run_single_user(fresh, f"create database {NAME}")
        fresh.rename(self.data_dir)

    def _run_single_user(self, data_dir: Path, statement: str) -> None:
        """Run a statement in single-user mode, without a running server or a password."""
        self._run_program(["postgres", "--single", "-D", str(data_dir), "postgres"], stdin=f"{statement}\n")

    def _run_program(self, command: Sequence[str], stdin: str = "") -> None:
        result = subprocess.run(
            [str(self._bin / command[0]), *command[1:]],
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INITDB_SECONDS,
            check=False,
            env=_clean_environment(),
            user=self._user,
            group=self._group,
            extra_groups=None if self._user is None else [],
            cwd="/",
        )
        with self.log_path.open("ab") as log:
            log.write(result.stdout)
        if result.returncode or b"ERROR:" in result.stdout or b"FATAL:" in result.stdout:
            output = result.stdout.decode(errors="replace").strip()[-800:]
            raise EmbeddedPostgresFailed(f"{command[0]} failed on {self.data_dir}: {output}")


class EmbeddedPostgres:
    """``PostgresServer`` for trio. Created by ``running``."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    @classmethod
    @asynccontextmanager
    async def running(cls, data_dir: Path, *, port: int | None = None, durable: bool = True) -> AsyncIterator[Self]:
        """Initialise if empty, start, and stop at the end, also when cancelled (within about 20 s).

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
        """Process id of the postmaster; None while it does not run."""
        return self._server.pid

    @property
    def data_dir(self) -> Path:
        return self._server.data_dir

    async def start(self) -> None:
        """Start again on the same port; returns when it accepts connections. Does nothing if it runs."""
        if self._server.pid is not None:
            return
        for attempts_left in reversed(range(PORT_ATTEMPTS)):
            self._server.launch()  # not in a worker thread: the server stops when its starting thread ends
            try:
                deadline = trio.current_time() + READY_SECONDS
                while not self._server.is_ready():
                    if trio.current_time() > deadline:
                        raise EmbeddedPostgresFailed(f"start of PostgreSQL: not within {READY_SECONDS:g} s")
                    await trio.sleep(POLL_SECONDS)
            except EmbeddedPostgresFailed:
                if not self._server.retry_on_another_port(attempts_left):
                    raise
            else:
                return

    async def kill(self) -> None:
        """Send SIGKILL to the whole server; returns when it can be started again."""
        await trio.to_thread.run_sync(self._server.kill)

    async def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back."""
        await trio.to_thread.run_sync(self._server.stop)


def _clean_environment() -> dict[str, str]:
    """Return an environment without our variables: PGPORT and the like would mislead the programs."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _write_new_password(path: Path) -> str:
    password = secrets.token_urlsafe(24)
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(password)
    return password
