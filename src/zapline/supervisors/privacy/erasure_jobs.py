"""Erases people on request: accepts the jobs, and carries each one out, also after a restart."""

import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import structlog
import trio

from zapline.domain.contacts.phone_numbers import parse_phone
from zapline.domain.errors import DatabaseUnavailable, JournalRefused, LocalError
from zapline.domain.ids import UnitId
from zapline.domain.privacy.erasure import identity_digest, mention_pattern, searchable_digits
from zapline.sql.journal.journal import Journal
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.sql.privacy import erasure
from zapline.sql.privacy.erasure import DropFiles, ErasureJob
from zapline.supervisors.counters import Counters
from zapline.supervisors.units.unit_commands import UnitCommands, UnknownUnit

_DELETE_BATCH = 200
"""Messages deleted in one transaction, which takes about 20 ms."""
_SEARCH_BATCH = 5000
"""Messages of others searched for the person in one transaction."""
_RETRY_AFTER = 1.0
"""Least seconds until a job that waits, or that failed, is continued."""
_REST_FACTOR = 4.0
"""The same for each second that the round before took, because searching a large journal delays others."""
_MIN_PAUSE = 0.02
"""Seconds between two transactions, so that others get their turn."""
_LOOK_EVERY = 60.0
_QUERY_CANCELED = "57014"
_LID = re.compile(r"lid:\d{1,20}")
_REFUSALS = (DatabaseUnavailable, StatementFailed, JournalRefused)
_LOG = structlog.get_logger(scope="Erasure")


class UnknownContact(LocalError):
    """The unit knows no such contact."""


def canonical_name(who: str, region: str) -> str:
    """The canonical name of a phone or a LID (``lid:`` and digits). Raises InvalidPhone."""
    lid = who.strip().lower()
    return lid if lid.isascii() and _LID.fullmatch(lid) else parse_phone(who, region)


@dataclass(eq=False, repr=False)
class ErasureJobs:
    """One for the process. ``key``: for the digests of erased people. ``region``: country of phones without one.

    ``drop_files`` deletes the cached media of messages, and has those that are kept removed soon. ``forget_contacts``
    is called when contacts that the recorder has cached may be gone.
    """

    _pool: Pool
    _journal: Journal
    _commands: UnitCommands
    _may_write: Callable[[], Awaitable[None]]
    _counters: Counters
    _drop_files: DropFiles
    _forget_contacts: Callable[[], None]
    _key: bytes
    _region: str = "BR"
    _clock: Callable[[], float] = time.time
    _new_id: Callable[[], UUID] = uuid4
    _wake_event: trio.Event = field(default_factory=trio.Event)
    _announced: set[UUID] = field(default_factory=set)
    """Jobs whose people the actors have been told of."""

    async def request(self, unit: UnitId, who: str | None = None, id: UUID | None = None) -> UUID:
        """Start to erase a person, by phone or LID, or by a contact's or conversation's id; return the job's id.

        Everything received until now is erased, under all names of the person. A repeated request returns the same job.
        Raises UnknownUnit, UnknownContact, InvalidPhone.
        """
        names_given = [canonical_name(who, self._region)] if who is not None else []
        async with self._pool.connection() as conn:
            if not await erasure.has_unit(conn, unit):
                raise UnknownUnit("there is no such unit")
            known, others = await erasure.find_names(conn, unit, names_given, id)
            names = sorted({*names_given, *known})
            if not names:
                raise UnknownContact("the unit has no such contact")
            job = ErasureJob(self._new_id(), unit, tuple(names), searchable_digits(names, others), self._clock())
            job_id = await erasure.begin_job(conn, job, [identity_digest(self._key, unit, name) for name in names])
            if job_id is None:
                job_id = await erasure.find_running_job(conn, unit, names)
        if job_id is None:  # the running job ended in between
            return await self.request(unit, who, id)
        _LOG.info("A person is to be erased", unit=str(unit), erasure=str(job_id), security=True)
        self._wake_event.set()
        return job_id

    async def run(self) -> None:
        """Carry out the jobs until cancelled, retrying after failures. A kill loses no finished part."""
        while True:
            await self._may_write()
            self._wake_event = trio.Event()
            began, left = trio.current_time(), True
            try:
                left = await self._round()
            except _REFUSALS as refused:
                _LOG.warning("Erasures must wait", error=str(refused))
            pause = max(_RETRY_AFTER, _REST_FACTOR * (trio.current_time() - began)) if left else _LOOK_EVERY
            with trio.move_on_after(min(pause, _LOOK_EVERY)):
                await self._wake_event.wait()

    async def _round(self) -> bool:
        """Advance every job; return whether one of them is unfinished."""
        async with self._pool.connection() as conn:
            jobs = await erasure.list_running_jobs(conn)
        if not jobs:
            return False
        if not self._announced.issuperset(job.id for job in jobs):
            await self._commands.reload()  # from now on actors drop webhooks from before the request
            self._announced = {job.id for job in jobs}
        ended = [await self._advance_or_wait(job) for job in jobs]
        return not all(ended)

    async def _advance_or_wait(self, job: ErasureJob) -> bool:
        """Advance a job; its failure does not stop the others."""
        try:
            return await self._advance(job)
        except _REFUSALS as refused:
            _LOG.warning("An erasure must wait", unit=str(job.unit), erasure=str(job.id), error=str(refused))
            return False

    async def _advance(self, job: ErasureJob) -> bool:
        """Do all that can be done of a job now; return whether it is finished.

        The journal comes first: an entry that an actor is working on is stored, and deleted after that.
        """
        async with self._pool.connection() as conn:
            await erasure.cancel_queued_sends(conn, job)
            if await erasure.count_open_calls(conn, job):
                await erasure.store_progress(conn, job, Counter(), waits_for="call")
                return False
        erased, waiting = await self._journal.erase(job.unit, mention_pattern(job.digits), job.erased_at)
        async with self._pool.connection() as conn:
            await erasure.store_progress(conn, job, Counter(journal=erased), waits_for="journal" if waiting else None)
        if waiting:
            return False
        await self._delete(job)
        async with self._pool.connection() as conn:
            await erasure.delete_traces(conn, job)
            await erasure.delete_dead_letters(conn, job)
        await self._mask_mentions(job)
        await self._delete(job)  # messages stored meanwhile
        async with self._pool.connection() as conn:
            if await erasure.has_messages(conn, job):  # a row was locked, or was queued again
                return False
            if await erasure.has_files_left(conn, job):
                await erasure.store_progress(conn, job, Counter(), waits_for="files")
                await self._drop_files(job.unit, ())
                return False
            await erasure.delete_contacts(conn, job)
            await erasure.finish_job(conn, job)
        self._forget_contacts()
        self._counters.add("people_erased")
        _LOG.info("A person is erased", unit=str(job.unit), erasure=str(job.id), security=True)
        return True

    async def _mask_mentions(self, job: ErasureJob) -> None:
        """Mask mentions of the person in messages of others; in smaller batches if a statement times out."""
        after: int | None = job.searched
        limit = _SEARCH_BATCH
        while after is not None:
            try:
                async with self._pool.connection() as conn:
                    after = await erasure.redact_mentions(conn, job, after, limit)
            except StatementFailed as slow:
                if slow.sqlstate != _QUERY_CANCELED or limit == 1:
                    raise
                limit = max(1, limit // 10)
            await trio.sleep(_MIN_PAUSE)

    async def _delete(self, job: ErasureJob) -> None:
        deleted = 1
        while deleted:
            async with self._pool.connection() as conn:
                deleted = await erasure.delete_some_messages(conn, job, _DELETE_BATCH, self._drop_files)
            self._counters.add("messages_erased", amount=deleted)
            await trio.sleep(_MIN_PAUSE)
