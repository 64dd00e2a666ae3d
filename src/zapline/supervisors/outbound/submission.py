"""Accepts what people ask to be sent: queues it once per client id, takes it back, decides what is uncertain."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from uuid import UUID, uuid4

import msgspec
import structlog

from zapline.domain.contacts.phone_numbers import Address, AddressKind, InvalidPhone, parse_phone
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.outbox import work_states as sending
from zapline.domain.outbox.work_states import Card, File, Quoted
from zapline.sql.conversations.conversations import Watched, get_message
from zapline.sql.outbound import outbox
from zapline.sql.outbound.outbox import Chat, Limits, NewMessage, Target, Upload
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.notifications.event_payloads import queued_news, watched_news
from zapline.supervisors.notifications.live_feed import Feed, Kind
from zapline.supervisors.outbound.media_url_check import check_media_url
from zapline.supervisors.outbound.message_composition import (
    InvalidMessage,
    React,
    SendAsked,
    Wanted,
    address_of,
    chat_with,
    detail_of,
    file_of,
    media_of,
    number_of,
    remote_jid,
    untimely,
)

EXPIRY = 24 * 3600.0
"""Seconds after which an unsent reply is of no use to whoever waited for it, unless it says otherwise."""
SOON = 10.0
"""Seconds ahead for which the unit's sender is told at once: it may be waiting in place for longer than that."""
RESERVED = ("campaign:", "optout:")
"""Client ids that begin so are given by Zapline itself."""
_LOG = structlog.get_logger(scope="Outgoing")


class UnknownMessage(LocalError):
    """The unit has no such message."""


class UnknownConversation(LocalError):
    """The unit has no such conversation."""


class ClientIdTaken(LocalError):
    """Another message was asked for under this client id."""


class NotCancellable(LocalError):
    """The message is not queued any more, or was never to be sent."""


class NotUncertain(LocalError):
    """The message does not wait for a decision."""


class Decision(StrEnum):
    """What a person does about an uncertain message."""

    RESEND = "resend"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class _Read:
    """What was asked, understood as far as nothing has to be looked up."""

    asked: SendAsked
    address: Address | None
    content: Wanted
    digest: bytes


@dataclass(frozen=True, slots=True)
class OutgoingPolicy:
    """``region``: country of phones without one. ``expiry``: seconds, for messages that name no end."""

    region: str = "BR"
    expiry: float = EXPIRY


class Outgoing:
    """Insert or guarded update only; the unit's sender does the rest. ``pool`` is the engine's.

    ``wake`` is told which unit has something to send now, ``reload_pace`` whose limits have changed.
    """

    def __init__(
        self,
        pool: Pool,
        clock: Callable[[], float],
        wake: Callable[[UnitId], None] = lambda unit: None,
        reload_pace: Callable[[UnitId], None] = lambda unit: None,
        policy: OutgoingPolicy | None = None,
        check_url: Callable[[str], Awaitable[str]] = check_media_url,
        feed: Feed | None = None,
    ) -> None:
        self._feed = feed or Feed()
        self._pool = pool
        self._clock = clock
        self._wake = wake
        self._reload_pace = reload_pace
        self._policy = policy or OutgoingPolicy()
        self._check_url = check_url

    # -- sending ---------------------------------------------------------------------------------------------

    async def send(self, unit: UnitId, asked: SendAsked) -> tuple[Watched, bool]:
        """The message as stored, and whether it is new; the same request again gives the same message.

        Raises ClientIdTaken, InvalidMessage, UnknownConversation, and what ``check_media_url`` raises.
        """
        read = self._read(asked)
        now = self._clock()
        late = untimely(asked, now)
        if late is not None or isinstance(read.content, File | React) or asked.reply_to or asked.conversation:
            # What was accepted once stays accepted, though its host, its time or what it replies to be gone by now.
            async with self._pool.connection() as conn:
                known = await self._known(conn, unit, read)
            if known is not None:
                return known, False
            if late is not None:
                raise late
        url = read.content.url if isinstance(read.content, File) else None
        checked = await self._check_url(url) if url is not None else None
        async with self._pool.connection() as conn:
            new = await self._compose(conn, unit, read, checked, now)
            if not await outbox.enqueue(conn, unit, new):
                known = await self._known(conn, unit, read)
                if known is None:
                    raise ClientIdTaken("another message has this clientMessageId")
                return known, False
            if new.due_at <= now + SOON:
                self._wake(unit)
            stored = await get_message(conn, unit, new.id)
        assert stored is not None
        self._feed.publish(unit, Kind.MESSAGE, lambda: queued_news(unit, stored, new.chat.canonical))
        return stored, True

    async def get(self, unit: UnitId, message: UUID) -> Watched:
        """One message. Raises UnknownMessage."""
        async with self._pool.connection() as conn:
            return await self._found(conn, unit, message)

    async def cancel(self, unit: UnitId, message: UUID) -> Watched:
        """Take a queued message back. Raises UnknownMessage, NotCancellable."""
        async with self._pool.connection() as conn:
            if not await outbox.cancel(conn, unit, message, self._clock()):
                state = await self._state(conn, unit, message)
                raise NotCancellable(f"only a queued message can be cancelled; this one is {state}")
            _LOG.info("A message was cancelled", unit=str(unit), message=str(message))
            return await self._told(conn, unit, message)

    async def release(self, unit: UnitId, message: UUID, decision: Decision) -> Watched:
        """Decide about an uncertain message: send it once more, or leave it alone.

        Raises UnknownMessage, NotUncertain.
        """
        now = self._clock()
        async with self._pool.connection() as conn:
            if decision is Decision.RESEND:
                done = await outbox.send_again(conn, unit, message, now, now + self._policy.expiry)
            else:
                done = await outbox.give_up(conn, unit, message, now)
            if not done:
                state = await self._state(conn, unit, message)
                raise NotUncertain(f"only an uncertain message can be released; this one is {state}")
            if decision is Decision.RESEND:
                self._wake(unit)
            _LOG.info("An uncertain message was decided", unit=str(unit), message=str(message), decision=decision.value)
            return await self._told(conn, unit, message)

    # -- what else is asked ----------------------------------------------------------------------------------

    async def store_upload(
        self, unit: UnitId, mimetype: str, file_name: str | None, data: bytes, id: UUID | None = None
    ) -> tuple[UUID, Upload]:
        """Keep a file to be sent. ``id``: under which the same file may come again."""
        id, upload = id or uuid4(), Upload(mimetype, file_name, len(data), sha256(data).digest())
        async with self._pool.connection() as conn:
            await outbox.insert_upload(conn, unit, id, upload, data)
        return id, upload

    async def set_pace(self, unit: UnitId, limits: Limits) -> None:
        """Replace the unit's own limits; its sender keeps to them from its next message on."""
        async with self._pool.connection() as conn:
            await outbox.put_pace(conn, unit, limits)
        self._reload_pace(unit)

    # -- inside ----------------------------------------------------------------------------------------------

    def _read(self, asked: SendAsked) -> _Read:
        """Raises InvalidMessage."""
        if asked.client_id.startswith(RESERVED):
            raise InvalidMessage("clientMessageId", f"does not begin with {' or '.join(RESERVED)}")
        region = self._policy.region
        address = address_of(asked.to, region) if asked.to is not None else None
        content = asked.content
        if isinstance(content, Card):
            try:
                content = msgspec.structs.replace(content, phone=parse_phone(content.phone, region))
            except InvalidPhone as invalid:
                raise InvalidMessage("contact.phone", str(invalid)) from None
        told = address.canonical if address is not None else None
        canonical = (told, asked.conversation, content, asked.reply_to, asked.send_at, asked.expires_at)
        return _Read(asked, address, content, sha256(msgspec.json.encode(canonical)).digest())

    async def _known(self, conn: Connection, unit: UnitId, read: _Read) -> Watched | None:
        """The message that this client id stands for. Raises ClientIdTaken where something else was asked."""
        known = await outbox.find_by_client_id(conn, unit, read.asked.client_id)
        if known is None:
            return None
        if known[1] != read.digest:
            raise ClientIdTaken("another message was asked for under this clientMessageId")
        return await get_message(conn, unit, known[0])

    async def _told(self, conn: Connection, unit: UnitId, message: UUID) -> Watched:
        """A message of which something has changed just now."""
        found = await self._found(conn, unit, message)
        self._feed.publish(unit, Kind.DELIVERY, lambda: watched_news(unit, found))
        return found

    async def _found(self, conn: Connection, unit: UnitId, message: UUID) -> Watched:
        found = await get_message(conn, unit, message)
        if found is None:
            raise UnknownMessage("the unit has no such message")
        return found

    async def _state(self, conn: Connection, unit: UnitId, message: UUID) -> str:
        state = await outbox.find_state(conn, unit, message)
        if state is None:
            raise UnknownMessage("the unit has no such message")
        return state

    async def _compose(
        self, conn: Connection, unit: UnitId, read: _Read, checked_url: str | None, now: float
    ) -> NewMessage:
        """Everything looked up that the message needs. Raises InvalidMessage, UnknownConversation."""
        asked, content = read.asked, read.content
        target = await self._target(conn, unit, asked)
        chat = await self._chat(conn, unit, read, target)
        upload: Upload | None = None
        made: sending.Content
        match content:
            case React(emoji=emoji):
                assert target is not None
                assert target.external_id is not None
                made = sending.Reaction(emoji, target.external_id, remote_jid(chat), target.from_me)
            case File():
                upload = await self._upload(conn, unit, content)
                made = file_of(content, checked_url, upload)
            case _:
                made = content
        quoted = None
        if asked.reply_to is not None and target is not None and target.external_id is not None:
            quoted = Quoted(target.external_id, remote_jid(chat), target.from_me, target.body or "")
        due_at = max(now, asked.send_at) if asked.send_at is not None else now
        return NewMessage(
            id=uuid4(),
            client_id=asked.client_id,
            chat=chat,
            address=number_of(chat),
            outgoing=sending.Outgoing(made, quoted),
            digest=read.digest,
            media=media_of(made, upload) if isinstance(made, File) else None,
            detail=detail_of(made),
            now=now,
            due_at=due_at,
            expires_at=asked.expires_at if asked.expires_at is not None else due_at + self._policy.expiry,
        )

    async def _target(self, conn: Connection, unit: UnitId, asked: SendAsked) -> Target | None:
        """The message that is replied or reacted to; it must be known to WhatsApp."""
        reacting = isinstance(asked.content, React)
        id = asked.content.message if isinstance(asked.content, React) else asked.reply_to
        if id is None:
            return None
        field = "reaction.messageId" if reacting else "replyTo"
        target = await outbox.find_target(conn, unit, id)
        if target is None:
            raise InvalidMessage(field, "the unit has no such message", "target_not_found")
        if target.external_id is None:
            raise InvalidMessage(field, "that message has not been sent yet", "target_not_sent")
        return target

    async def _chat(self, conn: Connection, unit: UnitId, read: _Read, target: Target | None) -> Chat:
        """Whom it goes to; the conversation of what it answers must be the same, or words would reach a stranger."""
        chat: Chat | None = None
        if read.asked.conversation is not None:
            chat = await outbox.find_chat(conn, unit, read.asked.conversation)
            if chat is None:
                raise UnknownConversation("the unit has no such conversation")
        elif read.address is not None:
            chat = chat_with(unit, read.address)
            if read.address.phone is None or target is not None:
                # A LID may be known to be a phone; and what is answered needs its chat's JID.
                chat = await outbox.find_chat(conn, unit, chat.conversation) or chat
        if chat is None:
            assert target is not None  # a reaction names its message alone
            chat = await outbox.find_chat(conn, unit, target.conversation)
            assert chat is not None
        elif target is not None and target.conversation != chat.conversation:
            field = "replyTo" if read.asked.reply_to is not None else "reaction.messageId"
            raise InvalidMessage(field, "that message belongs to another conversation", "target_elsewhere")
        if chat.kind not in (AddressKind.PERSON, AddressKind.GROUP):
            raise InvalidMessage("conversationId", f"nothing can be sent to a {chat.kind}", "not_writable")
        return chat

    async def _upload(self, conn: Connection, unit: UnitId, file: File) -> Upload | None:
        if file.upload is None:
            return None
        upload = await outbox.find_upload(conn, unit, file.upload)
        if upload is None:
            field = "audio" if file.kind in ("audio", "voice") else file.kind.value
            raise InvalidMessage(f"{field}.upload", "the unit has no such upload", "upload_not_found")
        return upload
