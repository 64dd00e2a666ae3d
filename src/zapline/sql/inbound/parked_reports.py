"""Parks reports whose message is not known yet, and applies them when the message arrives."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.sql.inbound.authorship import Stranger, letters, store_letters
from zapline.sql.inbound.message_deduplication import find_primary_ids
from zapline.sql.inbound.recorder_types import ChangedMessage, MessageKey, ReportKey
from zapline.sql.inbound.status_merge import MessageReport, by_primary_id, merge_reports, report_of, report_rows
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
_AT_ONCE = 64


@dataclass(slots=True)
class AppliedReports:
    """``reached``: messages that reports belong to. ``strangers``: reports about messages of others."""

    reached: set[MessageKey] = field(default_factory=set)
    changed: list[ChangedMessage] = field(default_factory=list)
    strangers: list[Stranger] = field(default_factory=list)
    _undecided: dict[ReportKey, MessageReport] = field(default_factory=dict)


async def apply_reports(
    conn: Connection,
    reports: Mapping[ReportKey, MessageReport],
    arrived: Iterable[MessageKey],
    aliases: Mapping[MessageKey, ExternalId],
) -> AppliedReports:
    """Apply new reports, and those that are parked for their messages or for ``arrived`` ones; park the others.

    A report waits too where it cannot be told yet whether it comes from its message's author.
    """
    applied = AppliedReports()
    unknown = await _merge(conn, reports, applied)
    keys = [
        {"unit_id": unit, "provider": PROVIDER, "external_id": external_id}
        for unit, external_id in sorted({*arrived, *applied.reached, *(key[:2] for key in applied._undecided)})
    ]
    parked = [
        ((UnitId(row.unit_id), ExternalId(row.external_id), row.claim), report_of(row))
        for row in await _SQL.run_batch(conn, "take_parked_reports", keys)
    ]
    unknown |= await _merge(conn, by_primary_id(parked, aliases), applied)
    await _SQL.run_batch(conn, "park_reports", report_rows(unknown))
    await _SQL.run_batch(conn, "park_reports", [row | {"tried": True} for row in report_rows(applied._undecided)])
    return applied


async def _merge(
    conn: Connection, reports: Mapping[ReportKey, MessageReport], applied: AppliedReports
) -> dict[ReportKey, MessageReport]:
    """Merge reports into the messages that have these ids, also second ones. Returns those whose message is unknown."""
    judged = await merge_reports(conn, report_rows(reports), applied.changed)
    unknown = {key: report for key, report in reports.items() if key not in judged}
    primary = await find_primary_ids(conn, {key[:2] for key in unknown})
    if primary:
        moved = by_primary_id(((key, unknown[key]) for key in unknown if key[:2] in primary), primary)
        by_second_id = await merge_reports(conn, report_rows(moved), applied.changed)
        for key in list(unknown):
            of_primary = (key[0], primary.get(key[:2], key[1]), key[2])
            if of_primary in by_second_id:
                judged[key] = by_second_id[of_primary]
                del unknown[key]
    for key, fits in judged.items():
        if fits:
            applied.reached.add(key[:2])
        elif fits is None:
            applied._undecided.setdefault(key, MessageReport()).merge(reports[key])
        else:
            change = json.loads(key[2])["change"]
            applied.strangers.append(Stranger(change, reports[key].row(key), proven=True))
    return unknown


async def find_unproven(conn: Connection, units: Collection[UnitId]) -> set[MessageKey]:
    """Messages in these units whose reports wait until it can be told from whom they are, of very many some."""
    if not units:
        return set()
    rows = await _SQL.rows(conn, "find_unproven", units=list(units), limit=_AT_ONCE)
    return {(UnitId(row.unit_id), ExternalId(row.external_id)) for row in rows}


async def apply_parked_reports(
    conn: Connection, limit: int, strangers: list[Stranger] | None = None
) -> tuple[int, list[ChangedMessage]]:
    """Apply parked reports whose message is known by now: how many messages they reached, and what changed.

    One that cannot be told is tried ever more rarely. Adds reports about messages of others to ``strangers``.
    """
    async with conn.transaction():
        rows = await _SQL.rows(conn, "find_applicable_reports", limit=limit)
        keys = [(UnitId(row.unit_id), ExternalId(row.external_id)) for row in rows]
        if not keys:
            return 0, []
        applied = await apply_reports(conn, {}, keys, {})
        await store_letters(conn, letters(applied.strangers, {}))
    if strangers is not None:
        strangers += applied.strangers
    return len(applied.reached), applied.changed


async def expire_parked_reports(conn: Connection, days: float, strangers: list[Stranger] | None = None) -> int:
    """Delete reports that waited for ``days``; returns how many.

    One whose message is there, and whose author was never proven, is a dead letter, and is added to ``strangers``.
    """
    async with conn.transaction():
        rows = await _SQL.rows(conn, "expire_parked_reports", days=days)
        unproven = []
        for row in rows:
            if row.compared:
                key = (UnitId(row.unit_id), ExternalId(row.external_id), row.claim)
                unproven.append(Stranger(json.loads(row.claim)["change"], report_of(row).row(key), proven=False))
        await store_letters(conn, letters(unproven, {}))
    if strangers is not None:
        strangers += unproven
    return len(rows)
