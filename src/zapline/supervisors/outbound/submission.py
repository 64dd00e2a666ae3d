"""Accepts messages to be sent: queues each client id once, cancels, and releases uncertain messages."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from uuid import UUID, uuid4

import structlog

from zapline.domain.errors import DatabaseUnavailable, LocalError
from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import File
from zapline.domain.outbox.pacing import PaceLimits
from zapline.domain.outbox.work_states import WorkState
from zapline.domain.tenants.ceilings import Pace
from zapline.domain.text import Sentence
from zapline.sql.accounts.ceilings import load_ceilings
from zapline.sql.conversations.conversations import TrackedMessage, get_message, queued_message
from zapline.sql.outbound import outbox, uncertain_sends, unit_pace, uploads
from zapline.sql.outbound.unit_pace import PaceSettings
from zapline.sql.outbound.uploads import UploadInfo, UploadQuota
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.notifications.event_payloads import decided_message_payload, queued_message_payload
from zapline.supervisors.notifications.live_feed import EventKind, LiveFeed
from zapline.supervisors.outbound.batches.shared_insert import SharedInsert
from zapline.supervisors.outbound.media_url_check import check_media_url
from zapline.supervisors.outbound.message_composition import (
    MessageComposer,
    ParsedRequest,
    ReactionRequest,
    SendRequest,
    find_invalid_time,
)

DEFAULT_EXPIRY = 24 * 3600.0
"""Seconds after which an unsent message expires, unless its request says otherwise."""
WAKE_AHEAD = 10.0
"""Seconds: a message that is due within them wakes the unit's sender, which may be waiting for longer than that."""
_LOG = structlog.get_logger(scope="Outgoing")


_STATE_WORDS: Mapping[str, Sentence] = {
    "received": Sentence("received"),
    WorkState.QUEUED: Sentence("queued"),
    WorkState.LEASED: Sentence("leased"),
    WorkState.UNCERTAIN: Sentence("uncertain"),
    WorkState.SETTLED: Sentence("settled"),
    WorkState.DEAD: Sentence("dead"),
    WorkState.CANCELLED: Sentence("cancelled"),
    WorkState.EXPIRED: Sentence("expired"),
}


class UnknownMessage(LocalError):
    """The unit has no such message."""


class ClientIdTaken(LocalError):
    """A different message was requested under this client id."""


class NotCancellable(LocalError):
    """The message is not queued any more, or was not sent by us."""


class NotUncertain(LocalError):
    """The message does not wait for a decision."""


class UploadsFull(LocalError):
    """The unit keeps as many files as it may."""


class Decision(StrEnum):
    """What a person does about an uncertain message."""

    RESEND = "resend"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class SubmissionPolicy:
    """``region``: country of phones without one. ``expiry``: seconds, for messages without one of their own."""

    region: str = "BR"
    expiry: float = DEFAULT_EXPIRY
    uploads: UploadQuota = field(default_factory=UploadQuota)


class Submissions:
    """Only inserts and guarded updates; the unit's sender does the rest. ``pool`` is the engine's.

    ``wake`` is called with a unit that has something to send now, ``reload_pace`` with one whose limits changed.
    ``know_time`` is awaited before the time is asked.
    """

    def __init__(
        self,
        pool: Pool,
        clock: Callable[[], float],
        wake: Callable[[UnitId], None] = lambda unit: None,
        reload_pace: Callable[[UnitId], None] = lambda unit: None,
        policy: SubmissionPolicy | None = None,
        check_url: Callable[[str], Awaitable[str]] = check_media_url,
        feed: LiveFeed | None = None,
        new_id: Callable[[], UUID] = uuid4,
        know_time: Callable[[Pool], Awaitable[None]] | None = None,
        clocks_agree: Callable[[], bool] = lambda: True,
    ) -> None:
        self._feed, self._new_id = feed or LiveFeed(), new_id
        self._pool = pool
        self._insert = SharedInsert(pool)
        self._know_time = know_time
        self._clock = clock
        self._wake = wake
        self._reload_pace = reload_pace
        self._policy = policy or SubmissionPolicy()
        self._clocks_agree = clocks_agree
        self._composer = MessageComposer(self._policy.region, self._policy.expiry, new_id, clocks_agree)
        self._check_url = check_url

    async def send(self, unit: UnitId, request: SendRequest) -> tuple[TrackedMessage, bool]:
        """Queue a message; return it as stored, and whether it is new. A repeated request returns the same message.

        Raises ClientIdTaken, InvalidMessage, UnknownConversation, what ``check_media_url`` raises, and
        DatabaseUnavailable, also where the stored message cannot be read back: the same request finds it later.
        """
        parsed = self._composer.parse(request)
        now = await self._now()
        invalid_time = find_invalid_time(request, now)
        lookups = isinstance(parsed.content, File | ReactionRequest) or request.reply_to or request.conversation
        if invalid_time is not None or lookups:
            # An accepted request stays accepted, even if its host, its time or its target has gone meanwhile.
            async with self._pool.connection() as conn:
                known = await self._find_repeated(conn, unit, parsed)
            if known is not None:
                return known, False
            if invalid_time is not None:
                raise invalid_time
        url = parsed.content.url if isinstance(parsed.content, File) else None
        checked = await self._check_url(url) if url is not None else None
        new = await self._composer.compose(self._pool, unit, parsed, checked, now)
        queued, present = await self._insert.enqueue(new.id, outbox.encode_message(unit, new))
        if queued is None:
            async with self._pool.connection() as conn:
                known = await self._find_repeated(conn, unit, parsed)
            if known is None:
                raise ClientIdTaken("another message has this clientMessageId")
            if known.message.id != new.id:
                return known, False
            stored = known  # queued by a try that was not answered
        elif present:
            stored = queued_message(new, queued)
        else:
            # Another role reads than has written, as behind a pooler that shares sessions, or somebody has deleted it.
            _LOG.error("A message that was just stored cannot be read: see zapline doctor", unit=str(unit))
            raise DatabaseUnavailable("a message that was just stored cannot be read; repeating the request is safe")
        if new.due_at <= now + WAKE_AHEAD:
            self._wake(unit)
        self._feed.publish(unit, EventKind.MESSAGE, lambda: queued_message_payload(unit, stored, new.chat.canonical))
        return stored, True

    async def get(self, unit: UnitId, message: UUID) -> TrackedMessage:
        """One message. Raises UnknownMessage."""
        async with self._pool.connection() as conn:
            return await self._get(conn, unit, message)

    async def cancel(self, unit: UnitId, message: UUID) -> TrackedMessage:
        """Take a queued message back. Raises UnknownMessage, NotCancellable."""
        async with self._pool.connection() as conn:
            if not await outbox.cancel(conn, unit, message, self._clock()):
                state = await self._work_state(conn, unit, message)
                raise NotCancellable(
                    Sentence("only a queued message can be cancelled; this one is {state}", state=state)
                )
            _LOG.info("A message was cancelled", unit=str(unit), message=str(message))
            return await self._publish_decision(conn, unit, message)

    async def release(self, unit: UnitId, message: UUID, decision: Decision) -> TrackedMessage:
        """Carry out a person's decision about an uncertain message: send it once more, or give it up.

        Raises UnknownMessage, NotUncertain.
        """
        now = await self._now()
        async with self._pool.connection() as conn:
            if decision is Decision.RESEND:
                done = await uncertain_sends.requeue_uncertain(conn, unit, message, now, now + self._policy.expiry)
            else:
                done = await uncertain_sends.give_up_uncertain(conn, unit, message, now)
            if not done:
                state = await self._work_state(conn, unit, message)
                raise NotUncertain(
                    Sentence("only an uncertain message can be released; this one is {state}", state=state)
                )
            if decision is Decision.RESEND:
                self._wake(unit)
            _LOG.info("An uncertain message was decided", unit=str(unit), message=str(message), decision=decision.value)
            return await self._publish_decision(conn, unit, message)

    async def dismiss(self, unit: UnitId, message: UUID) -> None:
        """Note that a person leaves a failed message alone; once more changes nothing.

        Raises UnknownMessage where the unit has no failed message of this id.
        """
        async with self._pool.connection() as conn:
            if not await outbox.dismiss_failed(conn, unit, message, await self._now()):
                raise UnknownMessage("the unit has no such message")
        _LOG.info("A failed message was left alone", unit=str(unit), message=str(message))

    async def store_upload(
        self, unit: UnitId, mimetype: str, file_name: str | None, data: bytes, id: UUID | None = None
    ) -> tuple[UUID, UploadInfo]:
        """Store a file to be sent later. ``id`` makes the upload repeatable.

        Where the unit's quota is used up, files that nothing needs any more go first, unless nobody knows how old they
        are. Raises UploadsFull.
        """
        id, upload = id or self._new_id(), UploadInfo(mimetype, file_name, len(data), sha256(data).digest())
        async with self._pool.connection() as conn:
            parts = (conn, unit, id, upload, data, self._policy.uploads)
            if not await uploads.insert_upload(*parts):
                freed = await uploads.free_unneeded(conn, unit) if self._clocks_agree() else 0
                _LOG.warning("A unit's uploads are over their quota", unit=str(unit), freed=freed)
                if not await uploads.insert_upload(*parts):
                    raise UploadsFull("the unit keeps as many files as it may; those that nothing needs go after a day")
        return id, upload

    async def set_pace(self, unit: UnitId, limits: PaceSettings, *, for_tenant: bool = False) -> None:
        """Replace the unit's own limits; its sender applies them from its next message on.

        ``for_tenant``: a token of units asks. Raises AboveCeiling then, for what the operator does not let it set.
        """
        async with self._pool.connection() as conn, conn.transaction():
            present = await unit_pace.read_pace(conn, unit) if for_tenant else None
            if present is not None:
                before = Pace(present.per_minute, present.burst, present.gap, *_rest_of(present))
                wanted = Pace(limits.per_minute, limits.burst, limits.gap_seconds, *_rest_of(limits))
                (await load_ceilings(conn)).check_pace(wanted, before)
            await unit_pace.store_pace(conn, unit, limits)
        self._reload_pace(unit)

    async def _now(self) -> float:
        """UTC seconds; a wrong clock of this machine is not believed even before this process leads."""
        if self._know_time is not None:
            await self._know_time(self._pool)
        return self._clock()

    async def _find_repeated(self, conn: Connection, unit: UnitId, parsed: ParsedRequest) -> TrackedMessage | None:
        """Find the message of an earlier identical request. Raises ClientIdTaken if that request was another one."""
        known = await outbox.find_by_client_id(conn, unit, parsed.request.client_id)
        if known is None:
            return None
        if known[1] != parsed.digest:
            raise ClientIdTaken("another message was asked for under this clientMessageId")
        return await get_message(conn, unit, known[0])

    async def _publish_decision(self, conn: Connection, unit: UnitId, message: UUID) -> TrackedMessage:
        """Publish the message after a change, and return it."""
        decided = await self._get(conn, unit, message)
        self._feed.publish(unit, EventKind.DELIVERY, lambda: decided_message_payload(unit, decided))
        return decided

    async def _get(self, conn: Connection, unit: UnitId, message: UUID) -> TrackedMessage:
        stored = await get_message(conn, unit, message)
        if stored is None:
            raise UnknownMessage("the unit has no such message")
        return stored

    async def _work_state(self, conn: Connection, unit: UnitId, message: UUID) -> Sentence:
        state = await outbox.find_work_state(conn, unit, message)
        if state is None:
            raise UnknownMessage("the unit has no such message")
        return _STATE_WORDS[state]


def _rest_of(limits: PaceSettings | PaceLimits) -> tuple[float, int | None]:
    return limits.campaign_seconds, limits.daily_cap
