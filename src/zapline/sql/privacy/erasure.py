"""Erases one person in pieces; each piece is one transaction and may be repeated."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from zapline.domain.ids import ExternalId, UnitId, contact_id, conversation_id
from zapline.domain.privacy.erasure import ErasedPeople, identity_digest, mention_pattern
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, as_json, from_row
from zapline.sql.postgres.row_level_security import unit_scope
from zapline.sql.privacy.deletion import DeletedRows, delete_messages

_SQL = Queries(__name__)
_DEAD_LETTERS = 100
"""Dead letters read at once, with their bodies."""


DropFiles = Callable[[UnitId, Sequence[ExternalId]], Awaitable[None]]
"""Deletes the files of messages of these ids from every cache."""


@dataclass(frozen=True, slots=True)
class ErasureJob:
    """A running erasure. ``erased_at`` in UTC seconds: later messages are not affected.

    ``digits``: by which others mention the person. ``searched``: the last message searched for mentions.
    """

    id: UUID
    unit: UnitId
    names: tuple[str, ...]
    digits: tuple[str, ...]
    erased_at: float
    searched: int = 0
    waits_for: str | None = None

    @property
    def conversations(self) -> list[str]:
        return [conversation_id(self.unit, name) for name in self.names]

    @property
    def person(self) -> dict[str, object]:
        """The person, as arguments of statements."""
        return {"unit_id": self.unit, "names": list(self.names), "conversations": self.conversations}

    @property
    def contacts(self) -> list[str]:
        return [contact_id(self.unit, name) for name in self.names]


@dataclass(frozen=True, slots=True)
class ErasureRecord:
    """A job as lists show it, without the person. ``counts``: deleted rows by kind."""

    id: UUID
    state: str
    erased_at: datetime
    ended_at: datetime | None
    waits_for: str | None
    counts: dict[str, int]


async def find_names(
    conn: Connection, unit: UnitId, names: Collection[str], id: UUID | None = None
) -> tuple[list[str], list[str]]:
    """All names and other identities of a person; ``id``: of a contact or conversation. Empty: not known."""
    row = await _SQL.one(conn, "find_names", unit_id=unit, names=list(names), lids=lids_of(names), id=id)
    return list(row.names), list(row.digits)


def lids_of(names: Iterable[str]) -> list[str]:
    """The LIDs among a person's names, as they stand in columns of their own."""
    return [name.removeprefix("lid:") for name in names if name.startswith("lid:")]


async def begin_job(conn: Connection, job: ErasureJob, digests: Sequence[bytes]) -> UUID | None:
    """Store the job and cancel queued sends to the person; None where such a job is running already.

    After the commit the person is known by digest alone, which keeps an opt-out.
    """
    async with conn.transaction():
        names, digits = list(job.names), list(job.digits)
        stored = {"id": job.id, "unit_id": job.unit, "names": names, "digits": digits, "at": job.erased_at}
        if await _SQL.one(conn, "insert_job", **stored) is None:
            return None
        opted_out = await _SQL.rows(conn, "delete_suppressions", unit_id=job.unit, names=names)
        await _SQL.execute(
            conn, "store_digests", unit_id=job.unit, digests=list(digests), at=job.erased_at, opted_out=bool(opted_out)
        )
        skipped = await _SQL.execute(conn, "skip_pending_recipients", unit_id=job.unit, names=names)
        await store_progress(conn, job, Counter(suppressions=len(opted_out), recipients=skipped))
        await _cancel_queued(conn, job)
    return job.id


async def cancel_queued_sends(conn: Connection, job: ErasureJob) -> None:
    """Cancel queued sends to the person again, since a failed call may have queued its message once more."""
    async with conn.transaction():
        await _cancel_queued(conn, job)


async def _cancel_queued(conn: Connection, job: ErasureJob) -> None:
    await _SQL.execute(conn, "end_abandoned_calls", **job.person)
    cancelled = await _SQL.execute(conn, "cancel_queued_sends", until=job.erased_at, **job.person)
    await store_progress(conn, job, Counter(cancelled=cancelled), waits_for=job.waits_for)


async def find_running_job(conn: Connection, unit: UnitId, names: Collection[str]) -> UUID | None:
    """The running job that erases a person of these names."""
    row = await _SQL.one(conn, "find_running_job", unit_id=unit, names=list(names))
    return row.id if row is not None else None


async def list_running_jobs(conn: Connection) -> list[ErasureJob]:
    """Running jobs, oldest first."""
    rows = await _SQL.rows(conn, "list_running_jobs")
    return [
        from_row(ErasureJob, row, unit=row.unit_id, names=tuple(row.names), digits=tuple(row.digits)) for row in rows
    ]


async def store_progress(
    conn: Connection, job: ErasureJob, counts: Counter[str], waits_for: str | None = None, searched: int = 0
) -> None:
    """Store the progress of a job; counts add up."""
    encoded = as_json({kind: count for kind, count in counts.items() if count})
    await _SQL.execute(conn, "store_progress", id=job.id, counts=encoded, waits_for=waits_for, searched=searched)


async def count_open_calls(conn: Connection, job: ErasureJob) -> int:
    """How many calls to the person are open."""
    return int((await _SQL.one(conn, "count_open_calls", **job.person)).calls)


async def delete_some_messages(conn: Connection, job: ErasureJob, limit: int, drop_files: DropFiles) -> int:
    """Delete some of the person's messages; returns how many. Files are deleted before the commit, as in retention."""
    deleted = DeletedRows()
    names, until = list(job.names), job.erased_at
    async with conn.transaction():
        bounds = {"unit_id": job.unit, "until": until, "limit": limit}
        messages = await _SQL.rows(conn, "find_messages", conversations=job.conversations, **bounds)
        if len(messages) < limit:
            known = {row.id for row in messages}
            others = await _SQL.rows(conn, "find_group_messages", names=names, **bounds)
            messages += [row for row in others if row.id not in known]
        await delete_messages(conn, job.unit, messages, deleted)
        await store_progress(conn, job, deleted.counts)
        await drop_files(job.unit, deleted.external_ids)
    await drop_files(job.unit, deleted.external_ids)  # a reader may have cached one until the commit
    return deleted.counts["messages"]


async def has_messages(conn: Connection, job: ErasureJob) -> bool:
    """Whether messages of the person still exist, since rows that another transaction locks are skipped."""
    return bool((await _SQL.one(conn, "has_messages", until=job.erased_at, **job.person)).any)


async def has_files_left(conn: Connection, job: ErasureJob) -> bool:
    """Whether files of the unit are to be removed yet: they may be the person's."""
    return bool((await _SQL.one(conn, "has_files_left", unit_id=job.unit)).any)


async def delete_traces(conn: Connection, job: ErasureJob) -> None:
    """Delete the person's reactions, reports and undecided echoes, and anonymise campaign recipients."""
    names, until = list(job.names), job.erased_at
    async with conn.transaction():
        counts: Counter[str] = Counter()
        counts["recipients"] += await _SQL.execute(conn, "blank_recipients", unit_id=job.unit, names=names)
        counts["reactions"] += await _SQL.execute(conn, "delete_reactions", unit_id=job.unit, names=names, until=until)
        conversations = {"unit_id": job.unit, "conversations": job.conversations, "until": until}
        counts["secrets"] += await _SQL.execute(conn, "delete_secrets", **conversations)
        counts["reports"] += await _SQL.execute(conn, "delete_encrypted_reports", until=until, **job.person)
        parked = {"unit_id": job.unit, "contacts": job.contacts, "until": until}
        counts["reports"] += await _SQL.execute(conn, "delete_parked_reports", **parked)
        waits = {"conversations": job.conversations, "names": names}
        counts["reports"] += await _SQL.execute(conn, "delete_waiting", **parked, **waits)
        counts["sightings"] += await _SQL.execute(conn, "delete_sightings", until=until, **job.person)
        left = await _SQL.rows(conn, "delete_memberships", unit_id=job.unit, names=names, lids=lids_of(names))
        counts["memberships"] += len(left)
        phones = sorted({*names, *(row.phone for row in left if row.phone is not None)})
        counts["checks"] += await _SQL.execute(conn, "delete_number_checks", unit_id=job.unit, names=phones)
        await store_progress(conn, job, counts)


def marks_in_letters(unit: UnitId, names: Iterable[str], digits: Iterable[str]) -> list[str]:
    """What a dead letter names a person by: digits in the bodies of webhooks, our ids in what strangers reported."""
    ids = [id for name in names for id in (contact_id(unit, name), conversation_id(unit, name))]
    return [*digits, *ids]


async def find_dead_letters(
    conn: Connection, unit: UnitId, marks: Sequence[str], after: int, until: float
) -> tuple[int, list[Any]] | None:
    """A piece of the dead letters after ``after``: where it ends, and those that may name the person; None: no more."""
    piece = await _SQL.one(conn, "find_dead_letters_end", unit_id=unit, after=after, limit=_DEAD_LETTERS)
    if piece.id is None:
        return None
    span = {"unit_id": unit, "after": after, "last": piece.id, "until": until}
    return piece.id, list(await _SQL.rows(conn, "find_dead_letters", marks=list(marks), **span))


async def delete_dead_letters(conn: Connection, job: ErasureJob) -> None:
    """Delete the dead letters that name the person."""
    marks = marks_in_letters(job.unit, job.names, job.digits)
    pattern, after = mention_pattern(marks), 0
    while (piece := await find_dead_letters(conn, job.unit, marks, after, job.erased_at)) is not None:
        after, rows = piece
        ids = [row.id for row in rows if _mentions(pattern, row)]
        if ids:
            async with conn.transaction():
                count = await _SQL.execute(conn, "delete_dead_letters", unit_id=job.unit, ids=ids)
                await store_progress(conn, job, Counter(letters=count))


def _mentions(pattern: Any, row: Any) -> bool:
    return any(pattern.search(body) for body in (row.raw or b"", (row.detail or "").encode("utf-8", "surrogatepass")))


async def redact_mentions(conn: Connection, job: ErasureJob, after: int, limit: int) -> int | None:
    """Redact mentions of the person in a piece of the unit's messages. Returns where it ended; None: no more."""
    row = await _SQL.one(conn, "find_messages_end", unit_id=job.unit, after=after, limit=limit)
    if row is None or row.seq is None:
        return None
    last: int = row.seq
    span = {"unit_id": job.unit, "after": after, "last": last, "until": job.erased_at}
    pattern = mention_pattern(job.digits).pattern.decode()
    async with conn.transaction():
        redacted = await _SQL.rows(conn, "redact_mentions", pattern=pattern, digits=list(job.digits), **span)
        await store_progress(conn, job, Counter(mentions=len(redacted)), searched=last)
    return last


async def delete_contacts(conn: Connection, job: ErasureJob) -> None:
    """Delete the person's conversations and contacts that have no newer messages."""
    unit, contacts = job.unit, job.contacts
    async with conn.transaction():
        counts: Counter[str] = Counter()
        for merged in (True, False):
            counts["conversations"] += await _SQL.execute(
                conn, "delete_conversations", unit_id=unit, conversations=job.conversations, merged=merged
            )
        counts["identities"] += await _SQL.execute(conn, "delete_identities", unit_id=unit, contacts=contacts)
        counts["contacts"] += await _SQL.execute(conn, "delete_contacts", unit_id=unit, contacts=contacts)
        await _SQL.execute(conn, "unname_contacts", unit_id=unit, contacts=contacts, until=job.erased_at)
        await store_progress(conn, job, counts)


async def finish_job(conn: Connection, job: ErasureJob) -> None:
    """End the job and delete the names in it."""
    await _SQL.rows(conn, "finish_job", id=job.id)


async def load_erased_people(conn: Connection, key: bytes) -> dict[UnitId, ErasedPeople]:
    """The erased people by unit; units without any are left out."""
    known: dict[UnitId, dict[bytes, float]] = {}
    for row in await _SQL.rows(conn, "load_erased_people"):
        known.setdefault(UnitId(row.unit_id), {})[bytes(row.digest)] = row.erased_at
    return {unit: ErasedPeople(key, unit, people) for unit, people in known.items()}


async def list_erasures(
    pool: Pool, unit: UnitId, before: tuple[datetime, UUID] | None, limit: int, id: UUID | None = None
) -> list[ErasureRecord]:
    """A page of a unit's jobs, newest first, after a position; or the one of this id."""
    at, last = before or (None, None)
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_erasures", unit_id=unit, id=id, before_at=at, before_id=last, limit=limit)
    return [ErasureRecord(*row) for row in rows]


async def has_unit(conn: Connection, unit: UnitId) -> bool:
    """Whether there is such a unit, active or archived."""
    return await _SQL.one(conn, "has_unit", id=unit) is not None


async def find_earlier_opt_outs(
    conn: Connection, key: bytes, unit: UnitId, recipients: Mapping[int, str]
) -> dict[int, str]:
    """Of these recipients by number, those who had opted out before their erasure, with that reason."""
    if not recipients or not (await _SQL.one(conn, "has_opted_out", unit_id=unit)).any:
        return {}
    digests = {identity_digest(key, unit, recipient): number for number, recipient in recipients.items()}
    rows = await _SQL.rows(conn, "find_opted_out_digests", unit_id=unit, digests=list(digests))
    return {digests[bytes(row.digest)]: "opted_out" for row in rows}


async def delete_earlier_opt_out(conn: Connection, key: bytes, unit: UnitId, canonical: str) -> bool:
    """Delete the opt-out of an erased person; False where there is none."""
    return bool(await _SQL.execute(conn, "delete_opt_out", unit_id=unit, digest=identity_digest(key, unit, canonical)))
