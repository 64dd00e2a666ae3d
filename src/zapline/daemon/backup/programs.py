"""Runs pg_dump and pg_restore, and tells how far they are."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from zapline.domain.errors import LocalError
from zapline.domain.privacy.masking import mask_secrets

_POLL_SECONDS = 0.1
_REPORT_SECONDS = 5.0
Report = Callable[[str], None]


def find_program(name: str, directory: Path | None) -> str:
    """The path of pg_dump or pg_restore. Raises LocalError with what to install."""
    found = shutil.which(name, path=str(directory) if directory else None)
    if found is None:
        where = f"in {directory}" if directory else "on this machine"
        raise LocalError(
            f"{name} is not {where}. Install PostgreSQL's client programs, not older than the server (Debian: "
            "apt-get install postgresql-client), or say with --pg-bin where they are"
        )
    return found


def run_program(arguments: Sequence[str], variables: dict[str, str], report: Report, tell: Callable[[], str]) -> None:
    """Run to its end; ``tell`` says how far it is. Raises LocalError with the program's own words."""
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", **variables}
    started = reported = time.monotonic()
    nothing = subprocess.DEVNULL
    with (
        TemporaryFile() as said,
        subprocess.Popen(  # noqa: S603 - a program that PATH or the operator names
            arguments, env=environment, stdin=nothing, stdout=nothing, stderr=said
        ) as process,
    ):
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                if time.monotonic() - reported >= _REPORT_SECONDS:
                    reported = time.monotonic()
                    report(f"  {tell()}, {reported - started:.0f} s")
        except BaseException:
            process.terminate()
            raise
        said.seek(0)
        words = said.read(4000).decode(errors="replace")
    if process.returncode:
        raise LocalError(f"{Path(arguments[0]).name} failed: {mask_secrets(' '.join(words.split()))}{_hint(words)}")


def _hint(words: str) -> str:
    if "server version mismatch" in words:
        return ". Install the client programs of the server's version, or name them with --pg-bin"
    if "permission denied" in words or "row-level security" in words:
        return ". DATABASE_URL has to name the owner of the database"
    return ""
