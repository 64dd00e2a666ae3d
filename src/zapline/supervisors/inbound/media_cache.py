"""Brings the files of messages from WhatsApp, through Evolution, and keeps the last used ones on disk.

A file of the cache is a length, a JSON header of that length, and the bytes. Its name is a digest, so nothing that
a stranger chose names a path. It is written beside its place and renamed into it, and never changed after that.
"""

import io
import os
import struct
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO
from uuid import uuid4

import msgspec
import structlog
import trio

from zapline.domain.errors import LocalError
from zapline.domain.ids import ExternalId, UnitId
from zapline.evolution.client.failures import EvolutionFailure
from zapline.evolution.client.response_parser import MediaContent
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.unit_state import Unit

FETCHES = 4
"""At a time: each holds a whole file in memory, a few times over while it is decoded."""
MOST_WAITING = 32
"""Requests that may wait for a fetch; more are turned away at once."""
CHUNK = 256 * 1024
"""Bytes read at a time: one trip to a thread each."""
_LENGTH = struct.Struct(">I")
_LONGEST_HEADER = 4096
_HALF = ".part"
_LOG = structlog.get_logger(scope="Media")


class MediaBusy(LocalError):
    """So many files are being fetched that another one must come later."""


class _Header(msgspec.Struct, frozen=True, array_like=True):
    mimetype: str | None
    file_name: str | None
    size: int
    """Of the bytes that follow: a file that lost some of them, or never got them, shows it."""


class OpenFile:
    """A file to be read to its end and closed. It stays readable though the cache may drop it meanwhile."""

    def __init__(self, content: IO[bytes], header: _Header) -> None:
        self.mimetype = header.mimetype
        self.file_name = header.file_name
        self.size = self._left = header.size
        self._content = content

    async def read(self) -> bytes:
        """The next part; empty at the end. Never more in all than ``size``, which the caller has promised."""
        part = await trio.to_thread.run_sync(self._content.read, min(CHUNK, self._left)) if self._left else b""
        self._left -= len(part)
        return part

    def close(self) -> None:
        self._content.close()

    def __del__(self) -> None:
        self._content.close()


@dataclass(slots=True)
class _Flight:
    """A fetch and those who wait for the same file."""

    lock: trio.Lock
    waiting: int = 0
    failure: EvolutionFailure | None = None
    dropped: bool = False
    """Nobody may have the file any more, but for who asked already."""


class MediaCache:
    """A directory with a bound in bytes; what was not used for longest goes first. Methods do disk I/O."""

    def __init__(self, directory: Path, budget: int) -> None:
        self._directory = directory
        self._budget = budget
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self.total = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        found = []
        for path in directory.iterdir():
            if path.suffix == _HALF:  # of a process that ended while it wrote
                path.unlink(missing_ok=True)
            elif path.is_file():
                told = path.stat()
                found.append((told.st_mtime, path.name, told.st_size))
        for _, name, size in sorted(found):
            self._sizes[name] = size
            self.total += size
        self._shrink()

    def open(self, name: str) -> OpenFile | None:
        """The file of this name, as the last used one; None where there is none that can be read."""
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
            if length > _LONGEST_HEADER:
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
        return OpenFile(content, header)

    def put(self, name: str, content: MediaContent) -> OpenFile:
        """Keep a file and open it; where the disk refuses, it is given from memory this once."""
        header = _Header(content.mimetype, content.file_name, len(content.data))
        told = msgspec.msgpack.encode(header)
        half = self._directory / f"{uuid4().hex}{_HALF}"
        try:
            with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
                out.write(_LENGTH.pack(len(told)) + told)
                out.write(content.data)
            half.replace(self._directory / name)
        except OSError as refused:
            with suppress(OSError):
                half.unlink(missing_ok=True)
            _LOG.warning("The media cache's disk refuses", error=refused.strerror)
            return OpenFile(io.BytesIO(content.data), header)
        self._forget(name)
        self._sizes[name] = _LENGTH.size + len(told) + len(content.data)
        self.total += self._sizes[name]
        opened = self.open(name)
        self._shrink()
        return opened or OpenFile(io.BytesIO(content.data), header)

    def _shrink(self) -> None:
        while self.total > self._budget and self._sizes:
            self._drop(next(iter(self._sizes)))

    def drop(self, names: Iterable[str]) -> None:
        """Let go of these files, where they are here."""
        for name in names:
            if name in self._sizes:
                self._drop(name)

    def _drop(self, name: str) -> None:
        self._forget(name)
        with suppress(OSError):  # a directory that nobody may write to any more: the next start finds it again
            (self._directory / name).unlink(missing_ok=True)

    def _forget(self, name: str) -> None:
        self.total -= self._sizes.pop(name, 0)


def _name(unit: UnitId, external_id: ExternalId) -> str:
    return sha256(f"{unit}\n{external_id}".encode("utf-8", "surrogatepass")).hexdigest()


class Media:
    """One for the process. ``budget``: bytes of the cache in ``directory``, which is made, for us alone."""

    def __init__(
        self,
        evolution: EvolutionClient,
        directory: Path,
        budget: int,
        counters: Counters,
        fetches: int = FETCHES,
    ) -> None:
        self._evolution = evolution
        self._cache = MediaCache(directory, budget)
        self._counters = counters
        self._fetching = trio.CapacityLimiter(fetches)
        self._disk = trio.Lock()  # the cache's own order is not for two threads
        self._flights: dict[str, _Flight] = {}
        self._waiting = 0

    async def open(self, unit: Unit, external_id: ExternalId) -> OpenFile:
        """A message's file; the caller closes it. Of those who ask for one at once, one fetches it.

        Raises EvolutionFailure (``MediaGone`` where there is nothing to be had) and MediaBusy.
        """
        name = _name(unit.id, external_id)
        kept = await self._kept(name)
        if kept is not None:
            self._counters.add("media_served", "cache")
            return kept
        if self._waiting >= MOST_WAITING:
            raise MediaBusy("too many files are being fetched just now")
        async with self._turn(name) as flight:
            kept = await self._kept(name)  # who was here before may have fetched it
            if kept is not None:
                return kept
            if flight.failure is not None:
                failed = flight.failure
                raise type(failed)(failed.detail, status=failed.status, retry_after=failed.retry_after)
            async with self._fetching:
                return await self._fetch(unit, external_id, name, flight)

    async def drop(self, unit: UnitId, external_ids: Sequence[ExternalId]) -> None:
        """Let go of the files of these messages. A disk that refuses keeps none for long: the bound takes them."""
        names = [_name(unit, external_id) for external_id in external_ids]
        for flight in filter(None, map(self._flights.get, names)):
            flight.dropped = True
        async with self._disk:
            await trio.to_thread.run_sync(self._cache.drop, names)

    async def _fetch(self, unit: Unit, external_id: ExternalId, name: str, flight: _Flight) -> OpenFile:
        try:
            content = await self._evolution.media_of(unit.record.instance, external_id)
        except EvolutionFailure as failure:
            self._counters.add("media_failed", failure.code)
            flight.failure = failure
            self._flights.pop(name, None)  # who comes from now on tries anew
            raise
        self._counters.add("media_served", "fetched")
        async with self._disk:
            fetched = await trio.to_thread.run_sync(self._cache.put, name, content)
            if flight.dropped:  # for who asked, and for nobody after him
                await trio.to_thread.run_sync(self._cache.drop, [name])
            return fetched

    async def _kept(self, name: str) -> OpenFile | None:
        async with self._disk:
            return await trio.to_thread.run_sync(self._cache.open, name)

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[_Flight]:
        """One at a time for each file; a failure is told to all who waited for it."""
        flight = self._flights.setdefault(name, _Flight(trio.Lock()))
        flight.waiting += 1
        self._waiting += 1
        try:
            async with flight.lock:
                yield flight
        finally:
            self._waiting -= 1
            flight.waiting -= 1
            if not flight.waiting and self._flights.get(name) is flight:
                del self._flights[name]
