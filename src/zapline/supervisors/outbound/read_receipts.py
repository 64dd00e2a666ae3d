"""Tells WhatsApp that a conversation was read, on demand, and remembers how far."""

from dataclasses import dataclass
from uuid import UUID

from zapline.domain.contacts.phone_numbers import AddressKind
from zapline.evolution.client.rest_client import EvolutionClient, MessageKey
from zapline.sql.outbound import outbox
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.message_composition import remote_jid
from zapline.supervisors.outbound.submission import UnknownConversation

MOST_MARKED = 100
"""Messages marked at a time, the newest: who left a thousand unread has not read them now either."""


@dataclass(frozen=True, slots=True)
class Marked:
    """``skipped_lid``: messages whose sender is known by a LID alone, for which Evolution has no receipt."""

    marked: int
    skipped_lid: int
    read_up_to: int
    """``seq`` of the newest message that counts as read."""


class Receipts:
    """``pool`` is the engine's."""

    def __init__(self, pool: Pool, evolution: EvolutionClient) -> None:
        self._pool = pool
        self._evolution = evolution

    async def mark_read(self, unit: Unit, conversation: UUID) -> Marked:
        """Mark what came in since the last time, in the conversation and all merged into it.

        Evolution drops keys of ``@lid`` chats without a word (contract, section 1), so they are left out and
        counted. Nothing is remembered unless Evolution took the rest: it may be asked again. Raises
        UnknownConversation and EvolutionFailure.
        """
        async with self._pool.connection() as conn:
            chat = await outbox.find_chat(conn, unit.id, conversation)
            if chat is None:
                raise UnknownConversation("the unit has no such conversation")
            unread = await outbox.find_unread(conn, unit.id, chat.conversation, MOST_MARKED)
        if not unread:
            return Marked(0, 0, chat.read_up_to)
        jid = remote_jid(chat)
        reachable = chat.kind != AddressKind.PERSON or chat.phone is not None
        if reachable:
            keys = [MessageKey(external_id, jid, False) for external_id, _ in unread]
            await self._evolution.mark_read(unit.record.instance, keys)
        newest = unread[0][1]
        async with self._pool.connection() as conn:
            await outbox.read_up_to(conn, unit.id, chat.conversation, newest)
        marked = len(unread) if reachable else 0
        return Marked(marked, len(unread) - marked, newest)
