"""Marks a conversation as read at WhatsApp, and stores up to which message."""

from dataclasses import dataclass
from uuid import UUID

from zapline.domain.contacts.addresses import AddressKind
from zapline.evolution.client.rest_client import EvolutionClient, MessageKey
from zapline.sql.outbound import outbox, read_receipts
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.message_composition import UnknownConversation, remote_jid

MAX_MARKED = 100
"""The newest messages that are marked at a time."""


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
