"""Writes files that only their owner reads, so that they survive a loss of power."""

import os
import shutil
from pathlib import Path

from zapline.sql.journal.sqlite_file import sync_directory as sync_directory

_CHUNK_BYTES = 2**20


def write_new(path: Path, content: bytes | Path) -> None:
    """Make a file (0600) of these bytes, or of what another file holds. Raises OSError, also where it is there already.

    Its name is durable after ``sync_directory``.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, file, _CHUNK_BYTES)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
