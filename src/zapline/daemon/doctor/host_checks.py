"""Checks this machine: the state directory, its disk, the journal, and the process's limits."""

import os
import resource
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import trio

from zapline.daemon.doctor.finding import Finding, Report, fail, ok, warn
from zapline.sql.journal.replacing import damaged_files

VOLATILE: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "overlay", "aufs", "rootfs", "squashfs"})
"""File systems that are emptied by a reboot or a new container."""
_CLEARED_AT_BOOT = ("/tmp", "/run", "/var/run")  # noqa: S108 - compared only
_MIN_DESCRIPTORS = 4096
"""Webhooks arrive in bursts of many connections; with fewer, large bursts are refused."""
_MIN_FREE_BYTES = 1024**3
"""A day of webhooks of a busy installation, with media inside."""

STATE, DISK, JOURNAL, LIMITS = "state directory", "disk", "journal", "open files"


async def check_host(state_dir: Path, report: Report) -> None:
    """Runs in a thread that may be abandoned: network file systems can hang."""
    findings = await trio.to_thread.run_sync(_check_directory, state_dir, abandon_on_cancel=True)
    for finding in findings:
        report(finding)
    report(_check_descriptors())


def _check_directory(directory: Path) -> list[Finding]:
    directory = directory.absolute()
    path = _existing_parent(directory)
    filesystem_type, mount = filesystem(path, Path("/proc/mounts"))
    findings = [_check_state_directory(directory), _check_disk(path, filesystem_type, mount)]
    if directory.is_dir():
        findings.append(_check_journal(directory))
    return findings


def _existing_parent(directory: Path) -> Path:
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory.resolve()


def _check_state_directory(directory: Path) -> Finding:
    if not directory.exists():
        if os.access(_existing_parent(directory), os.W_OK | os.X_OK):
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


def _check_disk(path: Path, filesystem_type: str, mount: str) -> Finding:
    if filesystem_type in VOLATILE:
        return fail(
            DISK,
            f"{path} lies on {filesystem_type} ({mount}): accepted webhooks are lost with the next reboot or container",
            "Set ZAPLINE_STATE_DIR to a directory on a real disk or a mounted volume.",
        )
    if any(path.is_relative_to(cleared) for cleared in _CLEARED_AT_BOOT):
        step = "Set ZAPLINE_STATE_DIR to a directory of its own, such as /var/lib/zapline."
        return warn(DISK, f"{path} is a place that systems empty when they start", step)
    try:
        free = os.statvfs(path)
    except OSError as error:
        return fail(DISK, f"{path}: {error.strerror}", "Check the disk.")
    free_bytes = free.f_bavail * free.f_frsize
    if free_bytes < _MIN_FREE_BYTES:
        step = "Make room: when it is full, webhooks can only be kept while PostgreSQL answers."
        return warn(DISK, f"{free_bytes // 1024**2} MiB are free on {mount}", step)
    return ok(DISK, f"{filesystem_type or 'a disk'} on {mount or path}, {free_bytes // 1024**3} GiB free")


def filesystem(path: Path, mounts: Path) -> tuple[str, str]:
    """(type, mount point) of the file system of ``path``; two empty texts if unknown."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return "", ""
    best = ("", "")
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        # A later mount hides an earlier one at the same point.
        if len(point) >= len(best[1]) and path.is_relative_to(point):
            best = (fields[2], point)
    return best


def _check_journal(directory: Path) -> Finding:
    candidates: Iterable[Path] = (journal for journal in (directory / "journal", directory) if journal.is_dir())
    journal = next(iter(candidates))
    step = (
        f"The daemon's user must own {journal} (with systemd: StateDirectory=zapline); is the disk full or read-only?"
    )
    try:
        with tempfile.NamedTemporaryFile(dir=journal, prefix=".doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return fail(JOURNAL, f"{journal} cannot be written: {error.strerror}", step)
    inaccessible = [path.name for path in journal.glob("*.db*") if not os.access(path, os.R_OK | os.W_OK)]
    if inaccessible:
        return fail(JOURNAL, f"{journal}: {', '.join(inaccessible)} belong to another user", step)
    aside = damaged_files(journal)
    if aside:
        step = "Look at the disk (dmesg, SMART). What was lost, the log says; then delete them: docs/operations.md."
        return warn(JOURNAL, f"{journal} was damaged: {', '.join(path.name for path in aside)}", step)
    return ok(JOURNAL, f"{journal} can be written")


def _check_descriptors() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _MIN_DESCRIPTORS:
        return warn(
            LIMITS,
            f"this shell allows {soft}",
            f"Start the daemon by systemd (LimitNOFILE=), or run: ulimit -n {_MIN_DESCRIPTORS * 4}",
        )
    return ok(LIMITS, f"{soft} allowed" if soft != resource.RLIM_INFINITY else "no limit")
