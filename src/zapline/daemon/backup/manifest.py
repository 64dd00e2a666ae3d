"""The manifest of a backup: what is in it, of which releases, and the checksum of each file."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from zapline.daemon.durable_files import write_new
from zapline.domain.errors import LocalError

FORMAT = 1
MANIFEST, DATABASE, JOURNAL, SEALED_KEY = "manifest.json", "database.dump", "journal.db", "master.key.sealed"
KEPT_FILES = "kept_files"
"""The table of the files that units keep; the files themselves are copied apart."""
PARTIAL = ".partial"
"""Ending of the directory while it is being written."""
KeyPlace = Literal["sealed", "apart", "absent"]


class FileEntry(msgspec.Struct, frozen=True):
    """One file: its length in bytes and its SHA-256."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """``manifest.json``. Times are UTC, ISO 8601."""

    format: int
    zapline: str
    database_at: str
    """From this moment on the journal alone knows what came."""
    journal_at: str
    """From this moment on Evolution's store alone knows what came."""
    postgresql: str
    migrations: dict[str, str]
    """Checksums by number."""
    rows: Mapping[str, int]
    journal_id: str
    journal_format: int
    journal_last_seq: int
    journal_entries: int
    key: KeyPlace
    key_fingerprint: str
    files: dict[str, FileEntry]


def checksum(path: Path) -> FileEntry:
    """Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(os.fstat(file.fileno()).st_size, digest)


def write(directory: Path, manifest: Manifest) -> None:
    """Write it as the last file, and make all of them durable. Raises OSError."""
    write_new(directory / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    for path in [*directory.iterdir(), directory]:
        synced = os.open(path, os.O_RDONLY)
        try:
            os.fsync(synced)
        finally:
            os.close(synced)


def read_and_verify(directory: Path) -> Manifest:
    """The manifest, once every file is what it says. Raises LocalError."""
    if directory.name.endswith(PARTIAL):
        raise LocalError(f"{directory} was never finished: choose an earlier backup")
    try:
        manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
        if manifest.format > FORMAT:
            raise LocalError(
                f"the backup has format {manifest.format}, this release knows {FORMAT}: install a later one"
            )
        for name, expected in manifest.files.items():
            if Path(name).name != name or checksum(directory / name) != expected:
                raise LocalError(f"{name} in the backup is not what was written: take another copy of the backup")
    except OSError as error:
        raise LocalError(f"the backup {directory} cannot be read: {error.strerror} ({error.filename})") from error
    except msgspec.DecodeError as error:
        raise LocalError(f"{directory / MANIFEST} cannot be read: {error}") from error
    return manifest
