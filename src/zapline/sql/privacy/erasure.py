"""Performs the erasure of one person, piece by piece; each piece is one transaction and may be done again."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from zapline.domain.ids import ExternalId, UnitId, contact_id, conversation_id
from zapline.domain.privacy.erasure import ErasedPeople, identity_digest, mention_pattern
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, as_json
from zapline.sql.postgres.row_level_security import unit_scope
from zapline.sql.privacy.deletion import DeletedRows, delete_messages

_SQL = Queries(__name__)
_LETTERS = 100
"""Dead letters looked at in one go: their bodies come along."""


DropFiles = Callable[[UnitId, Sequence[ExternalId]], Awaitable[None]]
"""Takes the files of messages of these ids out of every cache."""


@dataclass(frozen=True, slots=True)
class ErasureJob:
    """An erasure that is not at its end. ``erased_at`` in UTC seconds: what came in later is not touched.

    ``digits``: by which others name the person. ``searched``: the last message that was searched for them.
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
    def contacts(self) -> list[str]:
        return [contact_id(self.unit, name) for name in self.names]


@dataclass(frozen=True, slots=True)
class ErasureRecord:
    """A job as it is shown; it does not tell whom it is about. ``counts``: rows that went, by what they were."""

    id: UUID
    state: str
    erased_at: datetime
    ended_at: datetime | None
    waits_for: str | None
    counts: dict[str, int]


async def find_names(
    conn: Connection, unit: UnitId, names: Collection[str], id: UUID | None = None
) -> tuple[list[str], list[str]]:
    """All names of a person, and what else he was called; ``id``: of a contact or a conversation. Empty: not known."""
    lids = [name.removeprefix("lid:") for name in names if name.startswith("lid:")]
    row = await _SQL.one(conn, "find_names", unit_id=unit, names=list(names), lids=lids, id=id)
    return list(row.names), list(row.digits)


async def begin_job(conn: Connection, job: ErasureJob, digests: Sequence[bytes]) -> UUID | None:
    """Store the job, and have nothing more sent to the person; None where such a job is under way already.

    From its commit on the person is known by digest alone; that he wanted no campaigns is kept there.
    """
    async with conn.transaction():
        made = await _SQL.one(
            conn,
            "insert_erasure",
            id=job.id,
            unit_id=job.unit,
            names=list(job.names),
            digits=list(job.digits),
            at=job.erased_at,
        )
        if made is None:
            return None
        names = list(job.names)
        opted_out = await _SQL.rows(conn, "drop_suppressions", unit_id=job.unit, names=names)
        await _SQL.execute(
            conn, "put_digests", unit_id=job.unit, digests=list(digests), at=job.erased_at, opted_out=bool(opted_out)
        )
        passed = await _SQL.execute(conn, "pass_over", unit_id=job.unit, names=names)
        await store_progress(conn, job, Counter(suppressions=len(opted_out), recipients=passed))
        await _take_back(conn, job)
    return job.id


async def cancel_queued_sends(conn: Connection, job: ErasureJob) -> None:
    """Have nothing sent to the person that is not being sent now: what was called for may be queued once more."""
    async with conn.transaction():
        await _take_back(conn, job)


async def _take_back(conn: Connection, job: ErasureJob) -> None:
    his = {"unit_id": job.unit, "names": list(job.names), "conversations": job.conversations}
    await _SQL.execute(conn, "end_left_calls", **his)
    cancelled = await _SQL.execute(conn, "cancel_queued", until=job.erased_at, **his)
    await store_progress(conn, job, Counter(cancelled=cancelled), waits_for=job.waits_for)


async def find_running_job(conn: Connection, unit: UnitId, names: Collection[str]) -> UUID | None:
    """The job that erases somebody of these names now."""
    row = await _SQL.one(conn, "running_of", unit_id=unit, names=list(names))
    return row.id if row is not None else None


async def list_running_jobs(conn: Connection) -> list[ErasureJob]:
    """Jobs that are not at their end, oldest first."""
    return [
        ErasureJob(
            id=row.id,
            unit=UnitId(row.unit_id),
            names=tuple(row.names),
            digits=tuple(row.digits),
            erased_at=row.erased_at,
            searched=row.searched,
            waits_for=row.waits_for,
        )
        for row in await _SQL.rows(conn, "running_erasures")
    ]


async def store_progress(
    conn: Connection, job: ErasureJob, counts: Counter[str], waits_for: str | None = None, searched: int = 0
) -> None:
    """Write down how far a job is; counts add up."""
    told = as_json({what: count for what, count in counts.items() if count})
    await _SQL.execute(conn, "note", id=job.id, counts=told, waits_for=waits_for, searched=searched)


async def count_open_calls(conn: Connection, job: ErasureJob) -> int:
    """How many calls to the person are under way."""
    row = await _SQL.one(
        conn, "calls_under_way", unit_id=job.unit, names=list(job.names), conversations=job.conversations
    )
    return int(row.calls)


async def delete_some_messages(conn: Connection, job: ErasureJob, limit: int, drop_files: DropFiles) -> int:
    """Delete some of the person's messages; how many. Their files go before the commit: a kill forgets none."""
    gone = DeletedRows()
    names, until = list(job.names), job.erased_at
    async with conn.transaction():
        theirs = {"unit_id": job.unit, "until": until, "limit": limit}
        his = await _SQL.rows(conn, "find_his", conversations=job.conversations, **theirs)
        if len(his) < limit:
            known = {row.id for row in his}
            others = await _SQL.rows(conn, "find_his_in_groups", names=names, **theirs)
            his += [row for row in others if row.id not in known]
        await delete_messages(conn, job.unit, his, gone)
        await store_progress(conn, job, gone.counts)
        await drop_files(job.unit, gone.external_ids)
    await drop_files(job.unit, gone.external_ids)  # somebody may have looked at one until the commit
    return gone.counts["messages"]


async def has_messages(conn: Connection, job: ErasureJob) -> bool:
    """Whether messages of the person are still there: what somebody else holds for a moment is passed by."""
    row = await _SQL.one(
        conn,
        "anything_left",
        unit_id=job.unit,
        names=list(job.names),
        conversations=job.conversations,
        until=job.erased_at,
    )
    return bool(row.any)


async def delete_traces(conn: Connection, job: ErasureJob) -> None:
    """Delete what the person said about others' messages, and what campaigns know of him."""
    names, until = list(job.names), job.erased_at
    async with conn.transaction():
        counts: Counter[str] = Counter()
        counts["recipients"] += await _SQL.execute(conn, "blank_recipients", unit_id=job.unit, names=names)
        counts["reactions"] += await _SQL.execute(
            conn, "delete_his_reactions", unit_id=job.unit, names=names, until=until
        )
        counts["sightings"] += await _SQL.execute(
            conn,
            "delete_sightings",
            unit_id=job.unit,
            names=names,
            conversations=job.conversations,
            until=until,
        )
        await store_progress(conn, job, counts)


async def find_dead_letters(
    conn: Connection, unit: UnitId, digits: Sequence[str], after: int, until: float
) -> tuple[int, list[Any]] | None:
    """Where a piece of the dead letters behind ``after`` ends, and what may name somebody in it; None: no more."""
    piece = await _SQL.one(conn, "last_letter_of_piece", unit_id=unit, after=after, limit=_LETTERS)
    if piece.id is None:
        return None
    span = {"unit_id": unit, "after": after, "last": piece.id, "until": until}
    return piece.id, list(await _SQL.rows(conn, "find_letters", digits=list(digits), **span))


async def delete_dead_letters(conn: Connection, job: ErasureJob) -> None:
    """Delete the dead letters that name the person."""
    names, after = mention_pattern(job.digits), 0
    while (piece := await find_dead_letters(conn, job.unit, job.digits, after, job.erased_at)) is not None:
        after, rows = piece
        ids = [row.id for row in rows if _names(names, row)]
        if ids:
            async with conn.transaction():
                gone = await _SQL.execute(conn, "delete_letters", unit_id=job.unit, ids=ids)
                await store_progress(conn, job, Counter(letters=gone))


def _names(names: Any, row: Any) -> bool:
    return any(names.search(body) for body in (row.raw or b"", (row.detail or "").encode("utf-8", "surrogatepass")))


async def redact_mentions(conn: Connection, job: ErasureJob, after: int, limit: int) -> int | None:
    """Leave stars where others name the person, in a piece of the unit's messages; where it ended, None: at the end."""
    row = await _SQL.one(conn, "last_of_piece", unit_id=job.unit, after=after, limit=limit)
    if row is None or row.seq is None:
        return None
    last: int = row.seq
    pattern = mention_pattern(job.digits).pattern.decode()
    async with conn.transaction():
        found = await _SQL.rows(
            conn,
            "blot",
            unit_id=job.unit,
            pattern=pattern,
            digits=list(job.digits),
            after=after,
            last=last,
            until=job.erased_at,
        )
        await store_progress(conn, job, Counter(mentions=len(found)), searched=last)
    return last


async def delete_contacts(conn: Connection, job: ErasureJob) -> None:
    """Delete the person's conversations and contacts, where nothing new has come since."""
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
    """The job is done, and does not name anybody any more."""
    await _SQL.rows(conn, "end_erasure", id=job.id)


async def load_erased_people(conn: Connection, key: bytes) -> dict[UnitId, ErasedPeople]:
    """Who is erased, by unit; units without anybody are left out."""
    known: dict[UnitId, dict[bytes, float]] = {}
    for row in await _SQL.rows(conn, "load_erased"):
        known.setdefault(UnitId(row.unit_id), {})[bytes(row.digest)] = row.erased_at
    return {unit: ErasedPeople(key, unit, people) for unit, people in known.items()}


async def list_erasures(
    pool: Pool, unit: UnitId, before: tuple[datetime, UUID] | None, limit: int, id: UUID | None = None
) -> list[ErasureRecord]:
    """A page of a unit's jobs, the newest first, below a position; or the one of this id."""
    at, last = before or (None, None)
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_erasures", unit_id=unit, id=id, before_at=at, before_id=last, limit=limit)
    return [ErasureRecord(*row) for row in rows]


async def has_unit(conn: Connection, unit: UnitId) -> bool:
    """Whether there is such a unit, at work or closed."""
    return await _SQL.one(conn, "has_unit", id=unit) is not None


async def find_earlier_opt_outs(
    conn: Connection, key: bytes, unit: UnitId, recipients: Mapping[int, str]
) -> dict[int, str]:
    """Of these recipients by number, those who wanted no campaigns before they were erased, with that reason."""
    if not recipients or not (await _SQL.one(conn, "any_opted_out", unit_id=unit)).any:
        return {}
    digests = {identity_digest(key, unit, recipient): number for number, recipient in recipients.items()}
    rows = await _SQL.rows(conn, "opted_out_digests", unit_id=unit, digests=list(digests))
    return {digests[bytes(row.digest)]: "opted_out" for row in rows}


async def delete_earlier_opt_out(conn: Connection, key: bytes, unit: UnitId, canonical: str) -> bool:
    """An erased person may be written to again; False where he always could."""
    return bool(await _SQL.execute(conn, "forget_opt_out", unit_id=unit, digest=identity_digest(key, unit, canonical)))
