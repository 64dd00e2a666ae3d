"""Fetches the media files of messages from Evolution, and caches the most recently used ones on disk.

A cached file is a length, a msgpack header of that length, and the content. Its name is a digest, so no sender can
choose a path. It is written under a temporary name, then renamed, and never changed after that.
"""

import io
import os
import struct
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import msgspec
import structlog
import trio

from zapline.domain.errors import LocalError
from zapline.domain.ids import ExternalId, UnitId
from zapline.evolution.client.failures import EvolutionFailure
from zapline.evolution.client.media_stream import fetch_wherever
from zapline.evolution.client.response_parser import MediaContent
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.server_standing import PerServer
from zapline.supervisors.inbound.unit_state import Unit

MAX_FETCHES = 4
"""Fetches at a time: each holds a whole file in memory, a few times over while it is decoded."""
MAX_WAITING = 32
"""Requests that may wait for a fetch; more are refused at once."""
CHUNK = 256 * 1024
"""Bytes per read; each read is a call in a thread."""
_LENGTH = struct.Struct(">I")
_MAX_HEADER = 4096
_PARTIAL_SUFFIX = ".part"
_LOG = structlog.get_logger(scope="Media")


class MediaBusy(LocalError):
    """Too many requests are waiting for files; the client must try again later."""


class _Header(msgspec.Struct, frozen=True, array_like=True):
    mimetype: str | None
    file_name: str | None
    size: int
    """Bytes of the content that follows, by which a truncated file is recognised."""


class OpenFile:
    """A file to read and close. It stays readable even if the cache drops it meanwhile.

    ``digest``: by which one version of it is told from another, where it is known.
    """

    def __init__(
        self, content: IO[bytes], mimetype: str | None, file_name: str | None, size: int, digest: str | None = None
    ) -> None:
        self.mimetype = mimetype
        self.file_name = file_name
        self.size = self._left = size
        self.digest = digest
        self._content = content

    async def read(self) -> bytes:
        """The next chunk; empty at the end. Never more than ``size`` in total, which the caller has announced."""
        chunk = await trio.to_thread.run_sync(self._content.read, min(CHUNK, self._left)) if self._left else b""
        self._left -= len(chunk)
        return chunk

    async def choose(self, first: int, length: int) -> None:
        """Read only so many bytes, from byte ``first`` on. Before the first ``read``; within the size."""
        await trio.to_thread.run_sync(self._content.seek, first, io.SEEK_CUR)
        self._left = length

    def close(self) -> None:
        self._content.close()

    def __del__(self) -> None:
        self._content.close()


@dataclass(slots=True)
class _Fetch:
    """A fetch, and the number of requests that wait for the same file."""

    lock: trio.Lock
    waiting: int = 0
    failure: EvolutionFailure | None = None
    dropped: bool = False
    """The file must not stay in the cache; only requests that are waiting already get it."""


class MediaCache:
    """A directory with a bound in bytes; the least recently used file is removed first. All methods do disk I/O."""

    def __init__(self, directory: Path, budget: int) -> None:
        self._directory = directory
        self._budget = budget
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self.total = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        files = []
        for path in directory.iterdir():
            if path.suffix == _PARTIAL_SUFFIX:  # left by a process that ended while writing
                path.unlink(missing_ok=True)
            elif path.is_file():
                status = path.stat()
                files.append((status.st_mtime, path.name, status.st_size))
        for _, name, size in sorted(files):
            self._sizes[name] = size
            self.total += size
        self._evict()

    def open(self, name: str) -> OpenFile | None:
        """Open a file and mark it as used; None if there is none that can be read."""
        if name not in self._sizes:
            return None
        path = self._directory / name
        try:
            content = path.open("rb")
        except OSError:
            self._forget(name)
            return None
        try:
            (length,) = _LENGTH.unpack(content.read(_LENGTH.size))
            if length > _MAX_HEADER:
                raise ValueError("not one of ours")
            header = msgspec.msgpack.decode(content.read(length), type=_Header)
            if os.fstat(content.fileno()).st_size != _LENGTH.size + length + header.size:
                raise ValueError("not whole")
            os.utime(path)
        except (OSError, ValueError, struct.error) as damaged:  # msgspec's errors are ValueErrors
            content.close()
            self._drop(name)
            _LOG.warning("A file of the media cache was damaged and is fetched again", error=type(damaged).__name__)
            return None
        self._sizes.move_to_end(name)
        return OpenFile(content, header.mimetype, header.file_name, header.size)

    def put(self, name: str, content: MediaContent) -> OpenFile:
        """Store a file and open it; if the disk refuses, return it from memory this once."""
        header = _Header(content.mimetype, content.file_name, len(content.data))
        encoded = msgspec.msgpack.encode(header)
        partial = self._directory / f"{uuid4().hex}{_PARTIAL_SUFFIX}"
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
                out.write(_LENGTH.pack(len(encoded)) + encoded)
                out.write(content.data)
            partial.replace(self._directory / name)
        except OSError as refused:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            _LOG.warning("The media cache's disk refuses", error=refused.strerror)
            return OpenFile(io.BytesIO(content.data), content.mimetype, content.file_name, len(content.data))
        self._forget(name)
        self._sizes[name] = _LENGTH.size + len(encoded) + len(content.data)
        self.total += self._sizes[name]
        opened = self.open(name)
        self._evict()
        return opened or OpenFile(io.BytesIO(content.data), content.mimetype, content.file_name, len(content.data))

    def _evict(self) -> None:
        while self.total > self._budget and self._sizes:
            self._drop(next(iter(self._sizes)))

    def drop(self, names: Iterable[str]) -> None:
        """Remove these files, if they are cached."""
        for name in names:
            if name in self._sizes:
                self._drop(name)

    def _drop(self, name: str) -> None:
        self._forget(name)
        with suppress(OSError):  # the directory is read-only by now: the next start finds the file again
            (self._directory / name).unlink(missing_ok=True)

    def _forget(self, name: str) -> None:
        self.total -= self._sizes.pop(name, 0)


def _cache_name(unit: UnitId, external_id: ExternalId) -> str:
    return sha256(f"{unit}\n{external_id}".encode("utf-8", "surrogatepass")).hexdigest()


class MediaFetcher:
    """One instance per process. ``budget``: bytes of the cache in ``directory``, which is created with mode 0700."""

    def __init__(
        self,
        evolution: EvolutionClient,
        directory: Path,
        budget: int,
        counters: Counters,
        fetches: int = MAX_FETCHES,
    ) -> None:
        self._evolution = evolution
        self._cache = MediaCache(directory, budget)
        self._counters = counters
        self._turns = PerServer(fetches)
        self._disk = trio.Lock()  # the cache is not thread-safe
        self._fetches: dict[str, _Fetch] = {}
        self._waiting = 0

    async def open(self, unit: Unit, external_id: ExternalId) -> OpenFile:
        """A message's file, which the caller closes. Concurrent requests for one file share one fetch.

        Raises EvolutionFailure (``MediaGone`` if there is no file) and MediaBusy.
        """
        name = _cache_name(unit.id, external_id)
        cached = await self._open_cached(name)
        if cached is not None:
            self._counters.add("media_served", "cache")
            return cached
        if self._waiting >= MAX_WAITING:
            raise MediaBusy("too many files are being fetched just now")
        async with self._exclusive(name) as fetch:
            cached = await self._open_cached(name)  # the previous request may have fetched it
            if cached is not None:
                return cached
            if fetch.failure is not None:
                failed = fetch.failure
                raise type(failed)(failed.detail, status=failed.status, retry_after=failed.retry_after)
            async with self._turns.of(unit.server):
                return await self._fetch(unit, external_id, name, fetch)

    async def drop(self, unit: UnitId, external_ids: Sequence[ExternalId]) -> None:
        """Remove the files of these messages. Files that the disk refuses to remove go later, by the bound."""
        names = [_cache_name(unit, external_id) for external_id in external_ids]
        for fetch in filter(None, map(self._fetches.get, names)):
            fetch.dropped = True
        async with self._disk:
            await trio.to_thread.run_sync(self._cache.drop, names)

    async def _fetch(self, unit: Unit, external_id: ExternalId, name: str, fetch: _Fetch) -> OpenFile:
        try:
            content = await self._fetch_content(unit, external_id)
        except EvolutionFailure as failure:
            self._counters.add("media_failed", failure.code)
            fetch.failure = failure
            self._fetches.pop(name, None)  # later requests try again
            raise
        self._counters.add("media_served", "fetched")
        async with self._disk:
            fetched = await trio.to_thread.run_sync(self._cache.put, name, content)
            if fetch.dropped:  # the request that is waiting gets it, later ones do not
                await trio.to_thread.run_sync(self._cache.drop, [name])
            return fetched

    async def _fetch_content(self, unit: Unit, external_id: ExternalId) -> MediaContent:
        """Fetch a file; where the server does not find it inside the message's wrappers, show it the place."""
        evolution, instance = unit.evolution(self._evolution), unit.record.instance

        async def fetch(inside: Mapping[str, Any] | None) -> MediaContent:
            return await evolution.fetch_media(instance, external_id, *([inside] if inside is not None else []))

        return await fetch_wherever(evolution, instance, external_id, fetch)

    async def _open_cached(self, name: str) -> OpenFile | None:
        async with self._disk:
            return await trio.to_thread.run_sync(self._cache.open, name)

    @asynccontextmanager
    async def _exclusive(self, name: str) -> AsyncIterator[_Fetch]:
        """Admit one request at a time for a file; all that waited see the same failure."""
        fetch = self._fetches.setdefault(name, _Fetch(trio.Lock()))
        fetch.waiting += 1
        self._waiting += 1
        try:
            async with fetch.lock:
                yield fetch
        finally:
            self._waiting -= 1
            fetch.waiting -= 1
            if not fetch.waiting and self._fetches.get(name) is fetch:
                del self._fetches[name]
