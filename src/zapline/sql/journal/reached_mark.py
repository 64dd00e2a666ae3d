"""Keeps the highest number that was acknowledged beside the journal, so that a file that is set back is noticed."""

import os
import struct
from contextlib import suppress
from pathlib import Path
from uuid import UUID
from zlib import crc32

MARK_NAME = "journal.reached"
_FORMAT = struct.Struct("<16sqI")


class ReachedMark:
    """Written after each commit without an fsync: a mark that is lost with the power hides a loss, never invents one.

    A journal whose WAL was lost, damaged or not copied has a lower number than its mark. The writer's thread alone uses
    it, and errors of the disk are ignored: they show elsewhere.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / MARK_NAME
        self._handle: int | None = None

    def read(self) -> tuple[UUID, int] | None:
        """The id of the journal that was written last, and its highest number."""
        with suppress(OSError, struct.error):
            stored, seq, crc = _FORMAT.unpack(self._path.read_bytes())
            if crc == crc32(stored + seq.to_bytes(8, "little")):
                return UUID(bytes=stored), int(seq)
        return None

    def write(self, journal_id: UUID, seq: int) -> None:
        content = _FORMAT.pack(journal_id.bytes, seq, crc32(journal_id.bytes + seq.to_bytes(8, "little")))
        with suppress(OSError):
            if self._handle is None:
                self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._handle, content, 0)

    def forget(self) -> None:
        """The journal has been replaced on purpose."""
        self.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
