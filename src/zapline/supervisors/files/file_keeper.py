"""Fetches the files that units want to keep, one at a time for each unit, until they are there or gone."""

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
import trio

from zapline.domain.errors import DatabaseUnavailable, RemoteError
from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.messages.kept_files import LookAgain, after_failure
from zapline.evolution.client.failures import EvolutionFailure, FailureVerdict, InvalidRequest, MediaGone
from zapline.evolution.client.media_stream import LargerThanWanted, StreamedFile, fetch_wherever, stream_media
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.files import kept_files
from zapline.sql.files.kept_files import FetchedFile, WantedFile
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.files.disk import DiskFull, Draft, FileDisk
from zapline.supervisors.inbound.server_standing import PerServer
from zapline.supervisors.inbound.unit_state import Unit

MAX_FETCHES = 4
"""Files that are fetched at a time, half of them from one Evolution server; each takes a few MiB of memory."""
_OF_ONE_SERVER = 2
_MIN_PAUSE = 0.2
"""Seconds between two looks for what is due, however often ``wake`` is called."""
_IDLE, _IDLE_WITHOUT_POLICY = 15.0, 60.0
_RETRY_AFTER = 5.0
"""Seconds after the database did not serve a look."""
_SERVER_REST = 15.0
"""Seconds for which a unit rests whose server is away, or whose line was at fault."""
_FULL_SECONDS = 60.0
"""For which nothing is fetched after the disk had no room."""
_NO_ROOM_SECONDS = 600.0
"""After which it is seen again whether there is room for a file: within the unit's quota (a new policy is looked at at
once), or on the disk where smaller ones have room."""
_SMALL = 1024 * 1024
"""Bytes of a file of usual size."""
_LOG = structlog.get_logger(scope="Files")


@dataclass(slots=True)
class _Turn:
    """What this process remembers of a unit that wants files."""

    busy: bool = False
    rest_until: float = float("-inf")
    """Monotonic time."""


@dataclass(eq=False, repr=False)
class FileKeeper:
    """One for the process; only the leading process fetches. ``clock`` returns UTC seconds.

    A kill loses no file: what was half fetched is fetched again.
    """

    _pool: Pool
    _client: EvolutionClient
    _disk: FileDisk
    _unit_of: Callable[[UnitId], Unit | None]
    _may_write: Callable[[], Awaitable[None]]
    _counters: Counters
    _clock: Callable[[], float] = time.time
    _draw_spread: Callable[[], float] = random.random
    on_kept: Callable[[], None] = lambda: None
    """Called when a further file is on disk."""
    full_until: float = float("-inf")
    """Monotonic time until which nothing is fetched, because the disk has no room or refuses."""
    _wanting: frozenset[UnitId] = frozenset()
    _turns: dict[UnitId, _Turn] = field(default_factory=dict)
    _wake_event: trio.Event = field(default_factory=trio.Event)
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(MAX_FETCHES))
    _of_server: PerServer = field(default_factory=lambda: PerServer(_OF_ONE_SERVER))

    def wake(self, unit: UnitId) -> None:
        """Something of the unit was stored: look soon, if it keeps files."""
        if unit in self._wanting:
            self._wake_event.set()

    def policy_changed(self, unit: UnitId) -> None:
        """The unit wants others than before: look at once."""
        if (turn := self._turns.get(unit)) is not None:
            turn.rest_until = float("-inf")
        self._wake_event.set()

    @property
    def disk_full(self) -> bool:
        """Whether the disk had no room a moment ago."""
        return trio.current_time() < self.full_until

    async def run(self) -> None:
        """Fetch until cancelled; go on after the database was away."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._may_write()
                self._wake_event = trio.Event()
                try:
                    pause = await self._start_due(nursery)
                except (DatabaseUnavailable, StatementFailed) as away:
                    _LOG.warning("Files must wait", error=str(away))
                    pause = _RETRY_AFTER
                await trio.sleep(_MIN_PAUSE)
                with trio.move_on_after(pause):
                    await self._wake_event.wait()

    async def _start_due(self, nursery: trio.Nursery) -> float:
        """Start a task for each unit with a file that is due; returns the seconds until the next look."""
        # What is in hand now may be kept before it is listed as wanted all the same; its end wakes this loop.
        skipped = {unit for unit, turn in self._turns.items() if turn.busy}
        async with self._pool.connection() as conn:
            wanted = await kept_files.list_due(conn, self._clock())
            self._wanting = await kept_files.list_wanting_units(conn)
        now, pauses = trio.current_time(), [_IDLE if self._wanting else _IDLE_WITHOUT_POLICY]
        for idle in self._turns.keys() - {file.unit for file in wanted}:
            if not self._turns[idle].busy:
                del self._turns[idle]
        for file in wanted:
            unit, turn = self._unit_of(file.unit), self._turns.setdefault(file.unit, _Turn())
            if unit is None or file.unit in skipped:
                continue
            if unit.server.away_since is not None:
                turn.rest_until = now + _SERVER_REST
            wait = max(file.wait, turn.rest_until - now, self.full_until - now)
            if wait > 0:
                pauses.append(wait)
            else:
                turn.busy = True
                nursery.start_soon(self._serve, unit, file, turn)
        return min(pauses)

    async def _serve(self, unit: Unit, wanted: WantedFile, turn: _Turn) -> None:
        try:
            async with self._of_server.of(unit.server), self._limiter:
                await self._keep(unit, wanted, turn)
        except RemoteError as away:
            _LOG.warning("What became of a file could not be stored; it is fetched again", error=str(away))
            turn.rest_until = trio.current_time() + _RETRY_AFTER
        finally:
            turn.busy = False
            self._wake_event.set()

    async def _keep(self, unit: Unit, wanted: WantedFile, turn: _Turn) -> None:
        """Fetch one file and store what became of it. Raises RemoteError for the database."""
        async with self._pool.connection() as conn:
            kept = await kept_files.count_kept_bytes(conn, unit.id, wanted.message_id)
        if kept + (wanted.announced or 1) > wanted.quota_bytes:
            await self._note_no_room(wanted)
            return
        try:
            fetched = await self._fetch(unit, wanted)
        except LargerThanWanted:
            self._counters.add("files_ended", "too_large")
            async with self._pool.connection() as conn:
                await kept_files.note_end(conn, wanted, "left_out", "too_large")
        except (OSError, DiskFull) as refused:
            await self._note_refused(wanted, refused)
        except EvolutionFailure as failure:
            await self._note_failure(wanted, failure, turn)
        else:
            await self._note_fetched(wanted, fetched)

    async def _fetch(self, unit: Unit, wanted: WantedFile) -> FetchedFile:
        """The best copy that can be had, on disk under the file's name."""
        if wanted.copy_id is not None:
            try:
                return await self._fetch_copy(unit, wanted, wanted.copy_id)
            except (MediaGone, InvalidRequest):
                pass  # the server has not kept the copy, or cannot open it
        return await self._fetch_copy(unit, wanted, wanted.external_id)

    async def _fetch_copy(self, unit: Unit, wanted: WantedFile, external_id: ExternalId) -> FetchedFile:
        evolution, instance = unit.evolution(self._client), unit.record.instance
        await trio.to_thread.run_sync(self._disk.require, wanted.announced or 0)
        draft: Draft = await trio.to_thread.run_sync(self._disk.draft, wanted.unit, wanted.name)

        async def fetch(inside: Mapping[str, Any] | None) -> StreamedFile:
            return await stream_media(evolution, instance, external_id, draft.write, wanted.max_bytes, inside)

        try:
            told = await fetch_wherever(evolution, instance, external_id, fetch)
            digest = await trio.to_thread.run_sync(draft.commit)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(draft.discard)
        return FetchedFile(draft.size, digest, told.mimetype, told.file_name)

    async def _note_fetched(self, wanted: WantedFile, fetched: FetchedFile) -> None:
        async with self._pool.connection() as conn:
            kept = await kept_files.note_kept(conn, wanted, fetched, self._clock())
            known = kept or await kept_files.is_kept(conn, wanted)
        if kept:
            self._counters.add("files_ended", "kept")
            self._counters.add("file_bytes_kept", amount=fetched.size)
            self.on_kept()
        if known:
            return
        # It is not wanted any more, or larger than was said, and goes beyond the quota.
        await trio.to_thread.run_sync(self._disk.remove, wanted.unit, wanted.name)
        await self._note_no_room(wanted)

    async def _note_no_room(self, wanted: WantedFile) -> None:
        self._counters.add("files_failed", "quota")
        async with self._pool.connection() as conn:
            due_at = self._clock() + _NO_ROOM_SECONDS
            await kept_files.note_failed(conn, wanted, "quota", due_at, tried=False, denied=False)

    async def _note_failure(self, wanted: WantedFile, failure: EvolutionFailure, turn: _Turn) -> None:
        self._counters.add("files_failed", failure.code)
        denied = isinstance(failure, MediaGone | InvalidRequest)
        if failure.verdict is FailureVerdict.LINE or not denied:
            turn.rest_until = trio.current_time() + (failure.retry_after or _RETRY_AFTER)
        tries, denials, now = wanted.tries + 1, wanted.denials + denied, self._clock()
        follows = after_failure(tries, denials, wanted.asked_at, now, self._draw_spread())
        async with self._pool.connection() as conn:
            if isinstance(follows, LookAgain):
                store = partial(kept_files.note_failed, conn, wanted, failure.code, follows.at)
                await store(tried=True, denied=denied)
            else:
                self._counters.add("files_ended", "gone")
                await kept_files.note_end(conn, wanted, "gone", failure.code)

    async def _note_refused(self, wanted: WantedFile, refused: OSError | DiskFull) -> None:
        """The disk has no room for it, or refuses: others come first, and none where even a small one has no room."""
        self._counters.add("files_failed", "disk")
        if isinstance(refused, DiskFull):
            try:
                await trio.to_thread.run_sync(self._disk.require, _SMALL)
            except (OSError, DiskFull) as also:
                self._hold(also)
        else:
            self._hold(refused)
        async with self._pool.connection() as conn:
            due_at = self._clock() + _NO_ROOM_SECONDS
            await kept_files.note_failed(conn, wanted, "disk", due_at, tried=False, denied=False)

    def _hold(self, refused: OSError | DiskFull) -> None:
        """Fetch nothing for a while."""
        if not self.disk_full:
            reason = refused.strerror if isinstance(refused, OSError) else str(refused)
            _LOG.error("The disk takes no further files", error=reason)
        self.full_until = trio.current_time() + _FULL_SECONDS
