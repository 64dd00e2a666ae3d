"""Stores contacts with their phone numbers, JIDs and LIDs, and merges the conversations of one person."""

from collections.abc import Iterable

from zapline.domain.ids import ExternalId
from zapline.sql.inbound.recorder_types import MessageKey, Row
from zapline.sql.inbound.rows_from_facts import BatchRows
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
_CACHE_LIMIT = 50_000
"""Contacts in the cache; above it the cache is cleared, which costs only a few repeated statements."""


class RecorderCache:
    """Contacts and identities that one recorder lane has stored, so that not every message stores them again.

    Also the second ids of messages, and the messages that encrypted reports wait for, which only this lane adds.
    """

    def __init__(self) -> None:
        self.aliases: dict[MessageKey, ExternalId] | None = None
        """None: not read yet."""
        self.waiting_reactions: set[MessageKey] = set()
        """Messages that are not known yet and were reacted to."""
        self.waiting: set[MessageKey] | None = None
        """The messages that encrypted reports wait for; some of them in vain. None: not read yet."""
        self._contacts: dict[object, tuple[object, ...]] = {}
        self._identities: set[tuple[object, ...]] = set()

    def __bool__(self) -> bool:
        return bool(self._contacts or self._identities)

    def unstored(self, contacts: Iterable[Row], identities: Iterable[Row]) -> tuple[list[Row], list[Row]]:
        """The rows that differ from what is stored."""
        return (
            [row for row in contacts if self._contacts.get(row["id"]) != _contact_values(row)],
            [row for row in identities if _identity_key(row) not in self._identities],
        )

    def remember(self, contacts: Iterable[Row], identities: Iterable[Row]) -> None:
        """Call only after the commit."""
        if len(self._contacts) > _CACHE_LIMIT or len(self._identities) > _CACHE_LIMIT:
            self.forget()
        self._contacts.update((row["id"], _contact_values(row)) for row in contacts)
        self._identities.update(_identity_key(row) for row in identities)

    def forget(self) -> None:
        """Call where the database may have been restored to an earlier state."""
        self.aliases = self.waiting = None
        self._contacts.clear()
        self._identities.clear()


def _contact_values(row: Row) -> tuple[object, ...]:
    return row["phone"], row["lid"], row["name"], row["name_at"]


def _identity_key(row: Row) -> tuple[object, ...]:
    return row["unit_id"], row["identity"]


async def store_contacts(conn: Connection, contacts: list[Row], identities: list[Row], rows: BatchRows) -> None:
    """Store these contacts and identities, then the conversations of the batch and their merges."""
    await _SQL.run_batch(conn, "upsert_contacts", contacts)
    await _SQL.run_batch(conn, "upsert_identities", identities)
    await _SQL.run_batch(conn, "upsert_conversations", rows.conversations)
    await _SQL.run_batch(conn, "merge_conversations", rows.merges)
