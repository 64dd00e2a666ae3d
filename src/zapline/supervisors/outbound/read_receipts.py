"""Marks a conversation as read at WhatsApp, when asked or once a reply has left, and stores up to which message."""

from dataclasses import dataclass
from uuid import UUID

import structlog
import trio

from zapline.domain.contacts.addresses import AddressKind
from zapline.domain.errors import RemoteError
from zapline.domain.messages.facts import SendAnswered
from zapline.evolution.client.rest_client import EvolutionClient, MessageKey
from zapline.sql.outbound import outbox, read_receipts
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.server_standing import PerServer
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.message_composition import UnknownConversation, remote_jid

MAX_MARKED = 100
"""The newest messages that are marked at a time."""
MAX_WAITING = 1000
"""Replies whose conversations are still to be marked; those beyond are made up for by the next reply."""
_AT_ONCE = 4
"""Replies to one server."""
_MAX_OF_SERVER = 250
"""Replies that wait for one server: one that hangs holds up no other's."""
_LOG = structlog.get_logger(scope="Receipts")


@dataclass(frozen=True, slots=True)
class MarkedRead:
    """``skipped_lid``: messages whose sender is known by a LID only, for which Evolution sends no receipt."""

    marked: int
    skipped_lid: int
    read_up_to: int
    """``seq`` of the newest message marked as read."""


class ReadReceipts:
    """``pool`` is the engine's."""

    def __init__(self, pool: Pool, evolution: EvolutionClient) -> None:
        self._pool = pool
        self._evolution = evolution

    async def mark_read(self, unit: Unit, conversation: UUID) -> MarkedRead:
        """Mark the messages since the last call, in the conversation and all merged into it.

        Evolution ignores keys of ``@lid`` chats silently (contract, section 1), so they are skipped and counted.
        Nothing is stored unless Evolution accepted the others. Raises UnknownConversation and EvolutionFailure.
        """
        async with self._pool.connection() as conn:
            chat = await outbox.find_chat(conn, unit.id, conversation)
            if chat is None:
                raise UnknownConversation("the unit has no such conversation")
            unread = await read_receipts.find_unread(conn, unit.id, chat.conversation, MAX_MARKED)
        if not unread:
            return MarkedRead(0, 0, chat.read_up_to)
        jid = remote_jid(chat)
        reachable = chat.kind != AddressKind.PERSON or chat.phone is not None
        if reachable:
            keys = [MessageKey(external_id, jid, False) for external_id, _ in unread]
            await unit.evolution(self._evolution).mark_read(unit.record.instance, keys)
        newest = unread[0][1]
        async with self._pool.connection() as conn:
            await read_receipts.mark_read_up_to(conn, unit.id, chat.conversation, newest)
        marked = len(unread) if reachable else 0
        return MarkedRead(marked, len(unread) - marked, newest)

    async def mark_unread(self, unit: Unit, conversation: UUID) -> bool:
        """Count the newest message that came in as unread again, here alone: its sender was told that it was read.

        False where it is unread already, or there is none. Raises UnknownConversation.
        """
        async with self._pool.connection() as conn:
            chat = await outbox.find_chat(conn, unit.id, conversation)
            if chat is None:
                raise UnknownConversation("the unit has no such conversation")
            return await read_receipts.mark_unread(conn, unit.id, chat.conversation)


class ReplyReceipts:
    """Marks a conversation as read once a person's reply in it has left, in units that want it. One for the process."""

    def __init__(self, receipts: ReadReceipts, pool: Pool, counters: Counters) -> None:
        self._receipts = receipts
        self._pool = pool
        self._counters = counters
        self._give, self._take = trio.open_memory_channel[tuple[Unit, UUID]](MAX_WAITING)
        self._turns = PerServer(_AT_ONCE)

    def note(self, unit: Unit, answer: SendAnswered) -> None:
        """A send call has ended. Never waits."""
        if answer.outcome != "sent" or not unit.record.marks_read_on_reply:
            return
        try:
            self._give.send_nowait((unit, answer.message))
        except trio.WouldBlock:
            self._counters.add("reply_receipts", "too_many")

    async def run(self) -> None:
        """Mark until cancelled. What fails is counted, and made up for by the next reply in that conversation."""
        async with trio.open_nursery() as nursery:
            async for unit, message in self._take:
                turns = self._turns.of(unit.server)
                if turns.statistics().tasks_waiting < _MAX_OF_SERVER:
                    nursery.start_soon(self._mark, unit, message, turns)
                else:
                    self._counters.add("reply_receipts", "too_many")

    async def _mark(self, unit: Unit, message: UUID, turns: trio.CapacityLimiter) -> None:
        try:
            async with turns:
                async with self._pool.connection() as conn:
                    conversation = await read_receipts.find_replied_conversation(conn, unit.id, message)
                if conversation is None:
                    return
                marked = await self._receipts.mark_read(unit, conversation)
            self._counters.add("reply_receipts", "marked", marked.marked)
        except (RemoteError, UnknownConversation) as failure:
            self._counters.add("reply_receipts", "failed")
            _LOG.debug("A reply's conversation is not marked as read", unit=str(unit.id), error=str(failure))
