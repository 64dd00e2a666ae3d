"""Keeps files on disk, each under a random name in the directory of its unit: whole and synced, or not there at all."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO
from uuid import UUID

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.sql.journal.sqlite_file import sync_directory

_DRAFT = ".part"
_LOOK_EVERY = 16 * 1024 * 1024
"""Bytes after which it is seen again whether the disk has room."""


class DiskFull(LocalError):
    """So much would be written that others, above all the journal, had too little room."""


class Draft:
    """A file that is being written. All methods do disk I/O, and raise OSError; ``write`` raises DiskFull."""

    def __init__(self, disk: "FileDisk", path: Path) -> None:
        self._disk = disk
        self._path = path
        self._draft = path.with_name(path.name + _DRAFT)
        disk.drafts.add(self._draft)
        self._draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(self._draft, flags, 0o600), "wb", buffering=0)
        self._digest = hashlib.sha256()
        self._unseen = 0
        self.size = 0

    def write(self, content: bytes) -> None:
        """Append."""
        self._unseen += len(content)
        if self._unseen >= _LOOK_EVERY:
            self._disk.require(self._unseen)
            self._unseen = 0
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) :]
        self._digest.update(content)
        self.size += len(content)

    def commit(self) -> bytes:
        """Make it durable under its name; returns its SHA-256."""
        os.fsync(self._file.fileno())
        self._file.close()
        self._draft.replace(self._path)
        self._disk.drafts.discard(self._draft)
        sync_directory(self._path.parent)
        return self._digest.digest()

    def discard(self) -> None:
        """Remove what was written, unless it was committed."""
        self._file.close()
        with suppress(OSError):
            self._draft.unlink(missing_ok=True)
        self._disk.drafts.discard(self._draft)


class FileDisk:
    """``root`` is created with mode 0700. ``reserve``: bytes that are left free. All methods do disk I/O."""

    def __init__(self, root: Path, reserve: int) -> None:
        self.root = root
        self._reserve = reserve
        self.drafts: set[Path] = set()
        """Files that are being written."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)

    def require(self, size: int) -> None:
        """Raises DiskFull where the disk has no room for so many bytes."""
        if shutil.disk_usage(self.root).free - size < self._reserve:
            raise DiskFull("the disk has no room for further files")

    def draft(self, unit: UnitId, name: UUID) -> Draft:
        """Begin to write a file; what an earlier process has begun is thrown away. Raises OSError."""
        path = self.path(unit, name)
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for directory in (path.parent.parent, self.root):
                sync_directory(directory)
        return Draft(self, path)

    def open(self, unit: UnitId, name: UUID, size: int) -> IO[bytes] | None:
        """Open a file that has this size; None where there is no such file."""
        try:
            file = self.path(unit, name).open("rb")
        except OSError:
            return None
        if os.fstat(file.fileno()).st_size != size:
            file.close()
            return None
        return file

    def remove(self, unit: UnitId, name: UUID) -> None:
        """Remove a file, if it is there. Raises OSError."""
        self.path(unit, name).unlink(missing_ok=True)

    def names(self) -> Iterator[tuple[UnitId, list[UUID]]]:
        """All files by unit, a directory at a time; what earlier processes have half written goes.

        What is not ours is passed over.
        """
        for of_unit in sorted(self.root.iterdir()):
            unit = _uuid(of_unit.name)
            if unit is None or not of_unit.is_dir():
                continue
            for directory in sorted(path for path in of_unit.iterdir() if path.is_dir()):
                for draft in set(directory.glob(f"*{_DRAFT}")) - self.drafts:
                    draft.unlink(missing_ok=True)
                found = [name for path in directory.iterdir() if (name := _uuid(path.name)) is not None]
                if found:
                    yield UnitId(unit), found

    def path(self, unit: UnitId, name: UUID) -> Path:
        """Where a file lies."""
        return self.root / str(unit) / str(name)[:2] / str(name)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
