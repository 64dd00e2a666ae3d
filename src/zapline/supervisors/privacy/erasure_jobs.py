"""Erases people: accepts who is to be erased, and works each job to its end, also after a kill."""

import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import structlog
import trio

from zapline.domain.contacts.phone_numbers import parse_phone
from zapline.domain.errors import DatabaseUnavailable, JournalRefused, LocalError
from zapline.domain.ids import UnitId
from zapline.domain.privacy.erasure import digest_of, digits_of, mention
from zapline.sql.journal.journal import Journal
from zapline.sql.postgres.error_classes import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.sql.privacy import erasure
from zapline.sql.privacy.erasure import DropFiles, Job
from zapline.supervisors.counters import Counters
from zapline.supervisors.units.unit_commands import Submit, UnknownUnit

_AT_ONCE = 200
"""Messages deleted in one transaction: some 20 ms."""
_SEARCHED_AT_ONCE = 5000
"""Messages of others searched for a name in one transaction."""
_AGAIN = 1.0
"""Seconds until a job that waits for something, or that was refused, is taken up again, at the least."""
_REST = 4.0
"""The same for each second that the round before took: to search a large journal once more costs others time."""
_BREATH = 0.02
"""Seconds between two pieces, so that others get their turn."""
_LOOK_EVERY = 60.0
_TOOK_TOO_LONG = "57014"
_LID = re.compile(r"lid:\d{1,20}")
_REFUSALS = (DatabaseUnavailable, StatementFailed, JournalRefused)
_LOG = structlog.get_logger(scope="Erasure")


class UnknownContact(LocalError):
    """The unit knows no such contact."""


def canonical_of(who: str, region: str) -> str:
    """The canonical name that a person's phone or LID (``lid:`` and digits) has. Raises InvalidPhone."""
    asked = who.strip().lower()
    return asked if asked.isascii() and _LID.fullmatch(asked) else parse_phone(who, region)


class Erasures:
    """One for the process.

    ``key``: what the digests of erased people are made with. ``drop_files`` empties the media cache of messages.
    ``forget_known``: contacts that were written may be gone. ``region``: that of phones without country.
    """

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        submit: Submit,
        may_write: Callable[[], Awaitable[None]],
        counters: Counters,
        drop_files: DropFiles,
        forget_known: Callable[[], None],
        key: bytes,
        region: str = "BR",
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._submit = submit
        self._may_write = may_write
        self._counters = counters
        self._drop_files = drop_files
        self._forget_known = forget_known
        self._key = key
        self._region = region
        self._bell = trio.Event()
        self._taken_up: set[UUID] = set()
        """Jobs whose people the actors know of."""

    async def ask(self, unit: UnitId, who: str | None = None, id: UUID | None = None) -> UUID:
        """Erase a person, by phone or LID, or by the id of a contact or a conversation; the job's id.

        Everything that came in until now goes, under all his names. Asked again meanwhile, it is the same job.
        Raises UnknownUnit, UnknownContact, InvalidPhone.
        """
        given = [canonical_of(who, self._region)] if who is not None else []
        async with self._pool.connection() as conn:
            if not await erasure.has_unit(conn, unit):
                raise UnknownUnit("there is no such unit")
            known, others = await erasure.find_names(conn, unit, given, id)
            names = sorted({*given, *known})
            if not names:
                raise UnknownContact("the unit has no such contact")
            job = Job(uuid4(), unit, tuple(names), digits_of(names, others), time.time())
            made = await erasure.begin(conn, job, [digest_of(self._key, unit, name) for name in names])
            if made is None:
                made = await erasure.running_of(conn, unit, names)
        if made is None:  # it came to its end in between
            return await self.ask(unit, who, id)
        _LOG.info("A person is to be erased", unit=str(unit), erasure=str(made), security=True)
        self._bell.set()
        return made

    async def run(self) -> None:
        """Work the jobs until cancelled. What refuses is asked again; a kill loses nothing that was done."""
        while True:
            await self._may_write()
            self._bell = trio.Event()
            began, left = trio.current_time(), True
            try:
                left = await self._round()
            except _REFUSALS as refused:
                _LOG.warning("Erasures must wait", error=str(refused))
            pause = max(_AGAIN, _REST * (trio.current_time() - began)) if left else _LOOK_EVERY
            with trio.move_on_after(min(pause, _LOOK_EVERY)):
                await self._bell.wait()

    async def _round(self) -> bool:
        """Take up every job; whether one of them is left."""
        async with self._pool.connection() as conn:
            jobs = await erasure.running(conn)
        if not jobs:
            return False
        if not self._taken_up.issuperset(job.id for job in jobs):
            await self._submit.reload()  # from here on nothing of before is taken in
            self._taken_up = {job.id for job in jobs}
        ended = [await self._try(job) for job in jobs]
        return not all(ended)

    async def _try(self, job: Job) -> bool:
        """Advance a job; what refuses one of them holds up no other."""
        try:
            return await self._advance(job)
        except _REFUSALS as refused:
            _LOG.warning("An erasure must wait", unit=str(job.unit), erasure=str(job.id), error=str(refused))
            return False

    async def _advance(self, job: Job) -> bool:
        """Do all that can be done of a job; False where it waits for something.

        The journal comes first: what an actor has in hand is stored once its entry is done, and deleted after that.
        """
        async with self._pool.connection() as conn:
            await erasure.take_back(conn, job)
            if await erasure.calls_under_way(conn, job):
                await erasure.note(conn, job, Counter(), waits_for="call")
                return False
        names = mention(job.digits)
        erased, waiting = await self._journal.erase(job.unit, names, job.erased_at)
        async with self._pool.connection() as conn:
            await erasure.note(conn, job, Counter(journal=erased), waits_for="journal" if waiting else None)
        if waiting:
            return False
        await self._delete(job)
        async with self._pool.connection() as conn:
            await erasure.delete_traces(conn, job)
            await erasure.delete_letters(conn, job)
        await self._search(job)
        await self._delete(job)  # what was on its way meanwhile
        async with self._pool.connection() as conn:
            if await erasure.anything_left(conn, job):  # somebody held it, or it came back to the queue
                return False
            await erasure.delete_person(conn, job)
            await erasure.finish(conn, job)
        self._forget_known()
        self._counters.add("people_erased")
        _LOG.info("A person is erased", unit=str(job.unit), erasure=str(job.id), security=True)
        return True

    async def _search(self, job: Job) -> None:
        """Leave stars where others name the person; in smaller pieces where texts are long and one takes too long."""
        after: int | None = job.searched
        limit = _SEARCHED_AT_ONCE
        while after is not None:
            try:
                async with self._pool.connection() as conn:
                    after = await erasure.blot_some(conn, job, after, limit)
            except StatementFailed as slow:
                if slow.sqlstate != _TOOK_TOO_LONG or limit == 1:
                    raise
                limit = max(1, limit // 10)
            await trio.sleep(_BREATH)

    async def _delete(self, job: Job) -> None:
        gone = 1
        while gone:
            async with self._pool.connection() as conn:
                gone = await erasure.delete_some(conn, job, _AT_ONCE, self._drop_files)
            self._counters.add("messages_erased", amount=gone)
            await trio.sleep(_BREATH)
