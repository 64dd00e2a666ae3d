"""Keeps webhooks on disk whose unit cannot be known yet, and routes them once the units have been read."""

from typing import Protocol

import msgspec
import structlog
import trio
import trio.lowlevel

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq
from zapline.evolution.webhooks.envelope import extract_envelope
from zapline.evolution.webhooks.secret_stripping import strip_secrets
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import NOT_ROUTED, Arrival, Entry
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.intake import APPEND_TIMEOUT, Intake
from zapline.supervisors.inbound.unit_state import Unit

UNROUTED = "!unrouted"
"""Event of such an entry."""
MAX_BYTES = 64 * 2**20
"""Of all that wait: strangers can post, too, while they cannot be told. Beyond it, senders are to come again."""
_LARGE = 256 * 1024
_PAGE = 64
_PAUSE = 0.5
_LOG = structlog.get_logger(scope="Intake")


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    """A storage format. ``size``: of a body over the limit, which is not kept."""

    digest: bytes
    event: str | None
    size: int | None
    body: bytes


class FindOwner(Protocol):
    """Finds the unit of a webhook by the digest of its secret, and its instance; None: there is no such unit."""

    def __call__(self, digest: bytes, instance: str | None, received_at: float) -> Unit | None: ...


class UnroutedWebhooks:
    """One instance per process. Until the units were read once, whoever is unknown may be one of them.

    ``run`` routes what was kept as soon as ``units_loaded`` was called; from then on nothing is kept any more.
    """

    def __init__(self, journal: Journal, intake: Intake, counters: Counters, find: FindOwner) -> None:
        self._journal = journal
        self._intake = intake
        self._counters = counters
        self._find = find
        self._loaded = trio.Event()
        self._keeping = 0
        self._kept_until = Seq(0)
        self._bytes: int | None = None
        self._counting = trio.Lock()
        self.waiting = 0
        """Webhooks that wait for their unit."""
        self.is_open = True
        """Webhooks of unknown senders are kept."""

    def units_loaded(self) -> None:
        """The units have been read from the database."""
        self._loaded.set()

    async def keep(self, digest: bytes, event: str | None, body: bytes | int) -> bool:
        """Make a webhook durable; False: its sender is to send it again. ``body``: its size if it was over the limit.

        ``digest`` is that of the webhook's secret. Only while ``is_open``.
        """
        self._keeping += 1
        try:
            return await self._keep(digest, event, body)
        finally:
            self._keeping -= 1

    async def _keep(self, digest: bytes, event: str | None, body: bytes | int) -> bool:
        size, content = (body, b"") if isinstance(body, int) else (None, body)
        if len(content) > _LARGE:
            content = await trio.to_thread.run_sync(strip_secrets, content)
        elif content:
            content = strip_secrets(content)
        stored = msgspec.msgpack.encode(_Kept(digest, event, size, content))
        try:
            with trio.fail_after(APPEND_TIMEOUT):
                if self._bytes is None:
                    await self._count()
                if (self._bytes or 0) + len(stored) > MAX_BYTES:
                    self._counters.add("webhooks_put_off", "no_room")
                    return False
                self._bytes = (self._bytes or 0) + len(stored)
                arrival = Arrival(NOT_ROUTED, UNROUTED, self._intake.clock(), stored)
                seq = await self._journal.append(arrival)
        except (JournalRefused, trio.TooSlowError) as refused:
            _LOG.error("A webhook of an unknown sender could not be kept; it is to be sent again", error=str(refused))
            self._counters.add("webhooks_put_off", "journal_refused")
            return False
        self._kept_until = max(self._kept_until, seq)
        self.waiting += 1
        self._counters.add("webhooks_unrouted")
        return True

    async def _count(self) -> None:
        """Count what an earlier start has left."""
        async with self._counting:
            after, total, count = Seq(0), 0, 0
            while self._bytes is None:
                page = await self._journal.unfinished(after, _PAGE, NOT_ROUTED)
                if not page:
                    self._bytes, self.waiting = total, self.waiting + count
                    return
                after, count = page[-1].seq, count + len(page)
                total += sum(len(entry.body) for entry in page)

    async def run(self) -> None:
        """Route what was kept, once the units are known; then return."""
        await self._loaded.wait()
        after = Seq(0)
        while True:
            try:
                page = await self._journal.unfinished(after, _PAGE, NOT_ROUTED)
                for entry in page:
                    while not await self._route(entry):  # noqa: ASYNC110 - of the disk and the database
                        await trio.sleep(_PAUSE)
                    after = entry.seq
                await self._journal.flush()
            except JournalRefused as refused:
                _LOG.error("Webhooks of unknown senders wait for the journal", error=str(refused))
                await trio.sleep(_PAUSE)
                continue
            if not page and not self._keeping and self._kept_until <= after:
                self.is_open, self.waiting = False, 0
                return
            if not page:
                await trio.lowlevel.checkpoint()

    async def _route(self, entry: Entry) -> bool:
        """Hand one webhook to its unit, or refuse it as the endpoint would have; False where it could not be stored."""
        try:
            kept = msgspec.msgpack.decode(entry.body, type=_Kept)
        except msgspec.DecodeError:
            self._counters.add("refused_webhooks", "damaged")
            _LOG.critical("A webhook whose unit was not known yet is not what was written", seq=entry.seq)
            self._journal.mark_done([entry.seq])
            return True
        envelope = extract_envelope(kept.body)
        unit = self._find(kept.digest, envelope.instance, entry.received_at)
        if unit is None:
            self._counters.add("unknown_instances")
            self._counters.add("refused_webhooks", "wrong_secret")
        else:
            event = envelope.event or kept.event or ""
            self._counters.add("webhooks_accepted", event or "unknown")
            if kept.size is not None:
                stored = await self._intake.accept_too_large(unit, kept.size)
            else:
                stored = await self._intake.accept(unit, event, kept.body, entry.received_at)
            if not stored:
                return False
        self._journal.mark_done([entry.seq])
        self.waiting = max(0, self.waiting - 1)
        return True
