"""Makes a webhook durable before it is answered: in the journal, else in PostgreSQL, else it is counted as lost."""

import time
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq
from zapline.evolution.webhooks.array_splitting import split_arrays
from zapline.evolution.webhooks.secret_stripping import strip_secrets
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Arrival, Entry
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.journal_entries import TOO_LARGE
from zapline.supervisors.inbound.mailbox import DirectEntry
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.inbox.shared_inbox import SharedInbox
from zapline.supervisors.inbox.single_copies import SingleCopies

APPEND_TIMEOUT = 8.0
"""Seconds for one fsync: a disk that hangs for longer counts as one that refuses."""
DATABASE_TIMEOUT = 20.0
"""Seconds to wait for PostgreSQL if the journal refuses: Evolution gives up after 30."""
_LARGE = 256 * 1024
"""Bytes from which a body is cleaned and split in a thread, so that it does not block the event loop."""
_COMMIT_BYTES = 2 * 2**20
"""Of one webhook's parts in one commit of the journal: others are answered in between."""
_LOG = structlog.get_logger(scope="Intake")


class Intake:
    """One instance per process. Knows nothing of HTTP. ``clock`` returns UTC seconds."""

    def __init__(
        self,
        journal: Journal,
        counters: Counters,
        database_timeout: float = DATABASE_TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._counters = counters
        self._database_timeout = database_timeout
        self.clock = clock
        self._shared: tuple[SharedInbox, SingleCopies] | None = None
        self._cleaning = trio.CapacityLimiter(1)

    def share(self, inbox: SharedInbox, single: SingleCopies) -> None:
        """From now on webhooks go into the journal and the inbox, from which the owner of their unit takes them."""
        self._shared = inbox, single

    async def has_waiting(self, unit: Unit, until: float) -> bool:
        """Whether the inbox holds something that was put in for a unit before ``until`` (UTC seconds).

        Raises DatabaseUnavailable, StatementFailed.
        """
        return self._shared is not None and await self._shared[0].has_waiting(unit.id, until)

    @property
    def journal_id(self) -> UUID:
        """The id of the journal in which entries are made durable."""
        return self._journal.journal_id

    @property
    def journal_refuses(self) -> bool:
        """Whether the journal has refused its last entry, or could not be opened."""
        return self._journal.refusing or self._journal.closed_because is not None

    async def last_call(self, message: UUID) -> bytes | None:
        """What the journal holds of the last call of a message. Raises ``JournalRefused``."""
        return await self._journal.last_call(message)

    async def try_journal(self) -> bool:
        """Whether the journal can write now. Returns within 8 seconds."""
        try:
            with trio.fail_after(APPEND_TIMEOUT):
                await self._journal.try_write()
        except (JournalRefused, trio.TooSlowError):
            return False
        return True

    async def accept(self, unit: Unit, event: str, body: bytes, received_at: float | None = None) -> bool | None:
        """Make a webhook durable; False if it is lost. Returns within both timeouts in the worst case.

        None: its actor rests or has not begun, so that only the journal could take it; it is to be sent again.
        ``received_at`` (UTC seconds) is given for a body that was received earlier.
        """
        received_at = received_at if received_at is not None else self.clock()
        if len(body) > _LARGE:
            bodies = await trio.to_thread.run_sync(_cleaned_bodies, body, limiter=self._cleaning)
        else:
            bodies = _cleaned_bodies(body)
        arrivals = [Arrival(unit.id, event, received_at, cleaned) for cleaned in bodies]
        return await self._make_durable(unit, arrivals)

    async def accept_internal(self, unit: Unit, event: str, body: bytes) -> bool:
        """Make an internal entry (``!...``) durable, like a webhook; if False, the caller tries again."""
        return bool(await self._make_durable(unit, [Arrival(unit.id, event, self.clock(), body)], repeated=True))

    async def note(self, unit: Unit, event: str, body: bytes) -> bool:
        """Write an internal entry that the journal alone can hold; False where it refuses."""
        try:
            with trio.fail_after(APPEND_TIMEOUT):
                await self._journal.append(Arrival(unit.id, event, self.clock(), body))
        except (JournalRefused, trio.TooSlowError):
            self._counters.add("journal_refused")
            return False
        return True

    async def accept_too_large(self, unit: Unit, size: int) -> bool | None:
        """Record that a body over the limit was received; returns as ``accept``."""
        return await self._make_durable(unit, [Arrival(unit.id, TOO_LARGE, self.clock(), b"%d" % size)])

    async def _make_durable(self, unit: Unit, arrivals: Sequence[Arrival], *, repeated: bool = False) -> bool | None:
        if self._shared is not None and not repeated:
            return await self._make_copies(*self._shared, arrivals)
        while arrivals:
            # What is journaled is stored, and merges where the sender, who has no answer yet, sends it all again.
            number = _fitting(arrivals)
            try:
                await self._journal.append_many(arrivals[:number], within=APPEND_TIMEOUT)
            except JournalRefused as refused:
                error = str(refused)
                break
            arrivals = arrivals[number:]
        else:
            return True
        self._counters.add("journal_refused")
        _LOG.error("The journal refused a webhook; it goes to PostgreSQL directly", error=error)
        stored = await self._store_directly(unit, arrivals)
        if stored == len(arrivals):
            return True
        if not repeated:
            unit.gap_since = min(unit.gap_since or arrivals[0].received_at, arrivals[0].received_at)
            if not unit.can_act:  # what was stored of it already merges when it comes again
                self._counters.add("webhooks_put_off", "no_actor")
                return None
            self._count_lost(unit, arrivals, len(arrivals) - stored)
        return False

    async def _make_copies(self, inbox: SharedInbox, single: SingleCopies, arrivals: Sequence[Arrival]) -> bool | None:
        """Make a webhook durable in journal and inbox at the same time; None: in neither, it is to be sent again."""
        journaled, shared = list[Seq](), False
        old = single.is_history(arrivals[0].received_at)

        async def journal() -> None:
            rest = arrivals
            while rest:
                number = _fitting(rest)
                journaled.extend(await self._journal.append_many(rest[:number], within=APPEND_TIMEOUT))
                rest = rest[number:]

        async def keep_in_journal() -> None:
            try:
                await journal()
            except JournalRefused as refused:
                self._counters.add("journal_refused")
                _LOG.error("The journal refused a webhook; the inbox alone may have it", error=str(refused))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_in_journal)
            shared = await inbox.put(arrivals, replayed=old)
        whole = len(journaled) == len(arrivals)
        if not shared and not whole:
            shared = await inbox.put(arrivals, self._database_timeout, replayed=old)
        if shared:
            self._journal.mark_done(journaled)
            return True
        if whole:
            single.note(len(arrivals))
            return True
        self._counters.add("webhooks_put_off", "no_copy")
        return None

    async def _store_directly(self, unit: Unit, arrivals: Sequence[Arrival]) -> int:
        """Store past the journal; return how many were stored within the timeout."""
        directs = [DirectEntry(_entry(arrival)) for arrival in arrivals]
        with trio.move_on_after(self._database_timeout):
            if unit.can_act:
                for direct in directs:
                    await unit.mailbox.put_direct(direct)
                    await direct.processed.wait()
        for direct in directs:
            if not direct.stored:
                unit.mailbox.withdraw(direct)  # what is counted as lost must not be stored later
        return sum(1 for direct in directs if direct.stored)

    def _count_lost(self, unit: Unit, arrivals: Sequence[Arrival], lost: int) -> None:
        self._counters.add("lost", amount=lost)
        _LOG.critical(
            "A webhook is lost: neither the journal nor PostgreSQL took it",
            unit=str(unit.id),
            webhook_event=arrivals[0].event,
        )


def _fitting(arrivals: Sequence[Arrival]) -> int:
    """How many of them share one commit: at least one."""
    size = 0
    for number, arrival in enumerate(arrivals):
        size += len(arrival.body)
        if number and size > _COMMIT_BYTES:
            return number
    return len(arrivals)


def _cleaned_bodies(body: bytes) -> list[bytes]:
    return split_arrays(strip_secrets(body))


def _entry(arrival: Arrival) -> Entry:
    return Entry(Seq(0), arrival.unit_id, arrival.event, arrival.received_at, arrival.body)
