"""Stores contacts with their phone numbers, JIDs and LIDs, and merges the conversations of one person."""

from collections.abc import Iterable

from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.messages.facts import MessageArrived, MessageFact
from zapline.sql.inbound.recorder_types import MessageKey, Row
from zapline.sql.inbound.rows_from_facts import BatchRows
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
_CACHE_LIMIT = 50_000
"""Contacts in the cache; above it the cache is cleared, which costs only a few repeated statements."""


class _Contact:
    """What the database knows of a contact at least."""

    __slots__ = ("at", "lid", "phone", "reports", "username")

    def __init__(self) -> None:
        self.phone: object = None
        self.lid: object = None
        self.at = float("-inf")
        """The time of its newest names."""
        self.reports: dict[object, float] = {}
        """Name -> when it was first reported."""
        self.username = (float("-inf"), "")
        """Since when, and the username."""

    def covers(self, row: Row) -> bool:
        """Whether storing the row would change nothing."""
        names = self._covers_name(row) and _username(row) <= self.username
        return names and row["phone"] in (None, self.phone) and row["lid"] in (None, self.lid)

    def _covers_name(self, row: Row) -> bool:
        name, at, reported_at = row["name"], _number(row["name_at"]), _number(row["reported_at"])
        return name is None or at < self.at or (at == self.at and self.reports.get(name, float("inf")) <= reported_at)

    def merge(self, row: Row) -> None:
        self.phone, self.lid = row["phone"] or self.phone, row["lid"] or self.lid
        self.username = max(self.username, _username(row))
        if self._covers_name(row):
            return
        at = _number(row["name_at"])
        if at > self.at:
            self.at, self.reports = at, {}
        self.reports[row["name"]] = _number(row["reported_at"])


def _username(row: Row) -> tuple[float, str]:
    return (_number(row["name_at"]), str(row["username"])) if row["username"] is not None else (float("-inf"), "")


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else float("-inf")


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
        self.own_names: set[tuple[UnitId, str]] = set()
        """Names of the lines' own people that are stored."""
        self._contacts: dict[object, _Contact] = {}
        self._identities: set[tuple[object, ...]] = set()

    def __bool__(self) -> bool:
        return bool(self._contacts or self._identities)

    def unstored(self, contacts: Iterable[Row], identities: Iterable[Row]) -> tuple[list[Row], list[Row]]:
        """The rows that differ from what is stored."""
        return (
            [row for row in contacts if not self._covers(row)],
            [row for row in identities if _identity_key(row) not in self._identities],
        )

    def remember(self, contacts: Iterable[Row], identities: Iterable[Row]) -> None:
        """Call only after the commit."""
        if len(self._contacts) > _CACHE_LIMIT or len(self._identities) > _CACHE_LIMIT:
            self._contacts.clear()
            self._identities.clear()
        for row in contacts:
            self._contacts.setdefault(row["id"], _Contact()).merge(row)
        self._identities.update(_identity_key(row) for row in identities)

    def _covers(self, row: Row) -> bool:
        known = self._contacts.get(row["id"])
        return known is not None and known.covers(row)

    def forget(self) -> None:
        """Call where the database may have been restored to an earlier state."""
        self.aliases = self.waiting = None
        self.own_names.clear()
        self._contacts.clear()
        self._identities.clear()


def _identity_key(row: Row) -> tuple[object, ...]:
    return row["unit_id"], row["identity"]


async def store_contacts(conn: Connection, contacts: list[Row], identities: list[Row], rows: BatchRows) -> set[UnitId]:
    """Store these contacts and identities, then the conversations of the batch and their merges.

    Returns the units in which a LID may have become somebody else's than before.
    """
    await _SQL.run_batch(conn, "upsert_contacts", contacts)
    await _SQL.run_batch(conn, "upsert_identities", identities)
    await _SQL.run_batch(conn, "upsert_conversations", rows.conversations)
    return {UnitId(row.unit_id) for row in await _SQL.run_batch(conn, "merge_conversations", rows.merges)}


async def learn_own_names(
    conn: Connection, told: Iterable[tuple[UnitId, MessageFact]], cache: RecorderCache
) -> set[tuple[UnitId, str]]:
    """Store how the lines' own people are called, as their messages tell, and take these names from contacts.

    Call after the messages are stored: who has written is called by what his messages tell. Returns what the cache
    does not know yet, for after the commit.
    """
    own = {(unit, fact.own_name) for unit, fact in told if isinstance(fact, MessageArrived) and fact.own_name}
    new = own - cache.own_names
    await _SQL.run_batch(conn, "learn_own_names", [{"unit_id": unit, "name": name} for unit, name in sorted(new)])
    return new
