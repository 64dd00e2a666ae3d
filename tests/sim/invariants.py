"""What must hold of rows at each moment, or among them: delivery never goes back, the order of a line, isolation."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from .promises import Key, Promises

_DELIVERIES = """
select id::text, delivery::text, array_position(enum_range(null::zapline.delivery), delivery) from zapline.messages
 where delivery is not null
"""
_OWNERS = "select unit_id::text, owner::text, epoch from zapline.unit_whatsapp_connections"
_CALLS = """
select message_id::text, fence, epoch, earlier
  from (select message_id, fence, epoch, max(epoch) over (partition by message_id order by fence) as earlier
          from zapline.attempts where epoch is not null) a
 where epoch < earlier
"""
_TABLES = """
select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'unit_id'
 where c.relnamespace = 'zapline'::regnamespace and c.relkind = 'r'
   and has_table_privilege('zapline_api', c.oid, 'select')
 order by 1
"""


@dataclass
class Deliveries:
    """I9: looks at delivery statuses again and again; each may only rise, but where the database is set back."""

    highest: dict[str, tuple[int, str]] = field(default_factory=dict)
    fallen: list[str] = field(default_factory=list)

    def look(self, conn: Any) -> None:
        for id, told, rank in conn.execute(_DELIVERIES).fetchall():
            before = self.highest.get(id, (0, ""))
            if rank < before[0]:
                self.fallen.append(f"I9: delivery went from {before[1]} back to {told}")
            self.highest[id] = max(before, (rank, told))

    def forget(self) -> None:
        """The database was set back."""
        self.highest.clear()


@dataclass
class Owners:
    """J3: the epochs of a unit never fall, and each has one owner, but where the database is set back.

    J4: of the calls of a message, a later one was not claimed under an earlier epoch.
    """

    highest: dict[str, int] = field(default_factory=dict)
    of: dict[tuple[str, int], str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def look(self, conn: Any) -> None:
        for unit, owner, epoch in conn.execute(_OWNERS).fetchall():
            if epoch < self.highest.get(unit, 0):
                self.wrong.append(f"J3: the epoch of {unit} went from {self.highest[unit]} back to {epoch}")
            self.highest[unit] = max(self.highest.get(unit, 0), epoch)
            if owner is not None and self.of.setdefault((unit, epoch), owner) != owner:
                self.wrong.append(f"J3: two nodes have owned {unit} in epoch {epoch}")
        for message, fence, epoch, earlier in conn.execute(_CALLS).fetchall():
            self.wrong.append(f"J4: call {fence} of {message} was claimed in epoch {epoch}, after one in {earlier}")

    def forget(self) -> None:
        """The database was set back."""
        self.highest.clear()
        self.of.clear()


@dataclass(frozen=True, slots=True)
class Placed:
    """A message that came in by a webhook, and its place among all."""

    key: Key
    seq: int


def disorder(placed: Collection[Placed], promises: Promises) -> list[str]:
    """I5: of two messages of a line, that whose webhook was answered before the other's began has the lower number.

    Where the disk took both, once: what goes past the journal, comes again, or is read back has another order.
    """
    found = []
    ordered = sorted(placed, key=lambda each: (each.key[0], each.seq))
    latest: dict[str, tuple[float, Key]] = {}
    for each in ordered:
        instance = each.key[0]
        answers = promises.answers.get(each.key, [])
        if len(answers) != 1 or answers[0].refused or promises.is_shaken(answers[0]):
            continue
        begun = promises.begun[each.key]
        # Whoever has a higher number must not have been answered before this one began ...
        before = latest.get(instance)
        if before is not None and answers[0].at < before[0]:
            found.append(f"I5: {each.key} was answered before {before[1]} began, and has the higher number")
        # ... so the latest beginning of those so far is remembered.
        if before is None or begun > before[0]:
            latest[instance] = (begun, each.key)
    return found[:3]


def leaks(conn: Any) -> list[str]:
    """I6: whoever acts for one unit sees no row of another."""
    found = []
    tables = [row[0] for row in conn.execute(_TABLES).fetchall()]
    units = [row[0] for row in conn.execute("select id::text from zapline.units order by 1").fetchall()]
    counted = " union all ".join(
        f"select '{table}', count(*) filter (where unit_id::text <> %(unit)s), count(*) from zapline.{table}"
        for table in tables
    )
    for unit in units:
        owned = conn.execute("select count(*) from zapline.messages where unit_id = %s", (unit,)).fetchone()[0]
        with conn.transaction():
            conn.execute("set local role zapline_api")
            conn.execute("select set_config('zapline.unit', %s, true)", (unit,))
            seen = {
                table: (foreign, total) for table, foreign, total in conn.execute(counted, {"unit": unit}).fetchall()
            }
        found += [f"I6: {foreign} rows of others in {table}" for table, (foreign, _) in seen.items() if foreign]
        if seen["messages"][1] != owned:
            found.append(f"I6: {seen['messages'][1]} of {owned} messages are shown")
    return found
