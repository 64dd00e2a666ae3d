"""Looks at this machine: the state directory, its disk, the journal, and the limits of the process."""

import os
import resource
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import trio

from zapline.daemon.doctor.finding import Finding, Tell, fail, ok, warn

VOLATILE: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "overlay", "aufs", "rootfs", "squashfs"})
"""File systems that are empty, or reset, after a reboot or a new container."""
_CLEARED = ("/tmp", "/run", "/var/run")  # noqa: S108 - compared only
_DESCRIPTORS = 4096
"""Webhooks come in bursts of many connections; below this a burst of a large house is refused."""
_FREE_BYTES = 1024**3
"""A day of webhooks of a busy house, with media inside."""

STATE, DISK, JOURNAL, LIMITS = "state directory", "disk", "journal", "open files"


async def look_at_place(state_dir: Path, tell: Tell) -> None:
    """The disk may hang (network file systems), so all is done in a thread that may be left behind."""
    findings = await trio.to_thread.run_sync(_look, state_dir, abandon_on_cancel=True)
    for finding in findings:
        tell(finding)
    tell(_descriptors())


def _look(directory: Path) -> list[Finding]:
    directory = directory.absolute()
    where = _existing(directory)
    kind, mount = filesystem(where, Path("/proc/mounts"))
    found = [_state(directory), _disk(where, kind, mount)]
    if directory.is_dir():
        found.append(_journal(directory))
    return found


def _existing(directory: Path) -> Path:
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory.resolve()


def _state(directory: Path) -> Finding:
    if not directory.exists():
        if os.access(_existing(directory), os.W_OK | os.X_OK):
            return warn(STATE, f"{directory} is not there yet", "The daemon makes it when it starts first: zapline run")
        return fail(
            STATE,
            f"{directory} is not there, and this user may not make it",
            f"Make it for the daemon's user (install -d -m 0700 {directory}), or set ZAPLINE_STATE_DIR.",
        )
    if not directory.is_dir():
        return fail(STATE, f"{directory} is not a directory", "Set ZAPLINE_STATE_DIR to a directory of its own.")
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o077:
        return fail(STATE, f"{directory} is open to others (mode {mode:04o})", f"Run: chmod 700 {directory}")
    return ok(STATE, f"{directory}, mode {mode:04o}")


def _disk(where: Path, kind: str, mount: str) -> Finding:
    if kind in VOLATILE:
        return fail(
            DISK,
            f"{where} lies on {kind} ({mount}): accepted webhooks are lost with the next reboot or container",
            "Set ZAPLINE_STATE_DIR to a directory on a real disk or a mounted volume.",
        )
    if any(where.is_relative_to(place) for place in _CLEARED):
        step = "Set ZAPLINE_STATE_DIR to a directory of its own, such as /var/lib/zapline."
        return warn(DISK, f"{where} is a place that systems empty when they start", step)
    try:
        free = os.statvfs(where)
    except OSError as error:
        return fail(DISK, f"{where}: {error.strerror}", "Check the disk.")
    left = free.f_bavail * free.f_frsize
    if left < _FREE_BYTES:
        step = "Make room: when it is full, webhooks can only be kept while PostgreSQL answers."
        return warn(DISK, f"{left // 1024**2} MiB are free on {mount}", step)
    return ok(DISK, f"{kind or 'a disk'} on {mount or where}, {left // 1024**3} GiB free")


def filesystem(where: Path, mounts: Path) -> tuple[str, str]:
    """(type, mount point) of what ``where`` lies on; two empty texts where the system does not tell."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return "", ""
    best = ("", "")
    for line in lines:
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = parts[1].replace("\\040", " ")
        # A later line covers an earlier one of the same place.
        if len(point) >= len(best[1]) and where.is_relative_to(point):
            best = (parts[2], point)
    return best


def _journal(directory: Path) -> Finding:
    places: Iterable[Path] = (place for place in (directory / "journal", directory) if place.is_dir())
    place = next(iter(places))
    step = f"The daemon's user must own {place} (with systemd: StateDirectory=zapline); is the disk full or read-only?"
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return fail(JOURNAL, f"{place} cannot be written: {error.strerror}", step)
    closed = [known.name for known in place.glob("*.db*") if not os.access(known, os.R_OK | os.W_OK)]
    if closed:
        return fail(JOURNAL, f"{place}: {', '.join(closed)} belong to another user", step)
    return ok(JOURNAL, f"{place} can be written")


def _descriptors() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _DESCRIPTORS:
        return warn(
            LIMITS,
            f"this shell allows {soft}",
            f"Start the daemon by systemd (LimitNOFILE=), or run: ulimit -n {_DESCRIPTORS * 4}",
        )
    return ok(LIMITS, f"{soft} allowed" if soft != resource.RLIM_INFINITY else "no limit")
