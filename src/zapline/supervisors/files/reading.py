"""Hands out the files of messages: those that are kept, and others as WhatsApp still has them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import structlog
import trio

from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.messages.kept_files import read_link, sign_link
from zapline.sql.files import kept_files
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.files.disk import FileDisk
from zapline.supervisors.inbound.media_cache import MediaFetcher, OpenFile
from zapline.supervisors.inbound.unit_state import Unit

LONGEST_LINK = 7 * 24 * 3600
"""Seconds."""
_LOG = structlog.get_logger(scope="Files")


@dataclass(eq=False, repr=False)
class FileReader:
    """``pool``: of the role that reads. ``link_key`` signs links. ``clock`` returns UTC seconds."""

    _fetcher: MediaFetcher
    _disk: FileDisk
    _pool: Pool
    _counters: Counters
    _link_key: bytes
    _clock: Callable[[], float] = time.time

    async def open_kept(self, unit: UnitId, message: UUID) -> OpenFile | None:
        """The file of a message if it is kept, which the caller closes. Raises DatabaseUnavailable."""
        kept = await kept_files.find_file(self._pool, unit, message)
        if kept is None:
            return None
        content = await trio.to_thread.run_sync(self._disk.open, unit, kept.name, kept.size)
        if content is None:
            self._counters.add("files_failed", "missing")
            _LOG.error("A file that is kept is not on this disk", unit=str(unit))
            return None
        self._counters.add("media_served", "kept")
        return OpenFile(content, kept.mimetype, kept.file_name, kept.size, kept.sha256.hex())

    async def fetch(self, unit: Unit, external_id: ExternalId) -> OpenFile:
        """The file of a message as WhatsApp has it. Raises what ``MediaFetcher.open`` raises."""
        return await self._fetcher.open(unit, external_id)

    def link(self, unit: UnitId, message: UUID, seconds: int) -> tuple[str, int]:
        """The signed part of a link to the file of a message, and until when it holds, in UTC seconds."""
        expires_at = int(self._clock()) + seconds
        return sign_link(self._link_key, unit, message, expires_at), expires_at

    def read_link(self, text: str) -> tuple[UnitId, UUID] | None:
        """Unit and message of a link that holds; else None."""
        return read_link(self._link_key, text, self._clock())
