"""Merges reports into their messages: the highest delivery status, the latest edit, the first delete."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.delivery_status import merge_statuses as merge_delivery
from zapline.sql.inbound.recorder_types import ChangedMessage, MessageKey, ReportKey, Row
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
_MOST_ENTRIES = 8
"""As in ``zapline.some_entries``."""


TOLD = {
    DeliveryStatus.SENT: "told_sent_at",
    DeliveryStatus.DELIVERED: "told_delivered_at",
    DeliveryStatus.READ: "told_read_at",
    DeliveryStatus.PLAYED: "told_played_at",
}
"""The statuses of which it is stored when they were first reported, and where."""


@dataclass(slots=True)
class MessageReport:
    """Status, edit and delete of one message, merged; commutative, as in SQL."""

    delivery: DeliveryStatus | None = None
    edit: tuple[int, str] | None = None
    """(``edited_at_ms``, text)"""
    edit_unread_ms: int | None = None
    """The time of the latest edit that nobody could read (UTC milliseconds)."""
    edit_read_ms: int | None = None
    """Up to when edits that came encrypted were read."""
    deleted_at: float | None = None
    parked_at: float | None = None
    refusal: str | None = None
    """Why WhatsApp refused it: the greatest code that was reported. ``refused_at``: since when."""
    refused_at: float | None = None
    told: dict[DeliveryStatus, float] = field(default_factory=dict)
    """When each status was first reported."""
    entries: frozenset[str] = frozenset()
    """The journal's entries that it comes from; of very many the first."""

    def merge(self, other: "MessageReport") -> None:
        self.delivery = merge_delivery(self.delivery, other.delivery)
        if other.edit is not None and (self.edit is None or other.edit > self.edit):
            self.edit = other.edit
        self.edit_unread_ms = _later(self.edit_unread_ms, other.edit_unread_ms)
        self.edit_read_ms = _later(self.edit_read_ms, other.edit_read_ms)
        self.deleted_at = _earlier(self.deleted_at, other.deleted_at)
        self.parked_at = _earlier(self.parked_at, other.parked_at)
        self.refusal = max(self.refusal or "", other.refusal or "") or None
        self.refused_at = _earlier(self.refused_at, other.refused_at)
        for status, at in other.told.items():
            self.told[status] = min(at, self.told.get(status, at))
        self.entries = frozenset(sorted(self.entries | other.entries)[:_MOST_ENTRIES])

    def row(self, key: ReportKey) -> Row:
        return {
            "unit_id": key[0],
            "provider": PROVIDER,
            "external_id": key[1],
            "claim": key[2],
            "delivery": self.delivery.label if self.delivery is not None else None,
            "edited_body": self.edit[1] if self.edit else None,
            "edited_at_ms": self.edit[0] if self.edit else None,
            "edit_unread_ms": self.edit_unread_ms,
            "edit_read_ms": self.edit_read_ms,
            "deleted_at": self.deleted_at,
            "parked_at": self.parked_at,
            "refusal": self.refusal,
            "refused_at": self.refused_at,
            **{column: self.told.get(status) for status, column in TOLD.items()},
            "entries": sorted(self.entries),
        }


def _earlier(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _later(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def report_of(row: Any) -> MessageReport:
    """The report in a row of parked reports, or of what a deleted message row knew."""
    edit = (row.edited_at_ms, row.edited_body) if row.edited_at_ms is not None else None
    label = DeliveryStatus[row.delivery.upper()] if row.delivery is not None else None
    reported = MessageReport(label, edit, row.edit_unread_ms, row.edit_read_ms, row.deleted_at, row.parked_at)
    reported.refusal, reported.refused_at, reported.entries = row.refusal, row.refused_at, frozenset(row.entries)
    reported.told = told_of(row)
    return reported


def told_of(row: Any) -> dict[DeliveryStatus, float]:
    """When each status was first reported (UTC seconds), in a row that has all columns of :data:`TOLD`."""
    return {status: at for status, column in TOLD.items() if (at := getattr(row, column)) is not None}


def by_primary_id(
    reports: Iterable[tuple[ReportKey, MessageReport]], aliases: Mapping[MessageKey, ExternalId]
) -> dict[ReportKey, MessageReport]:
    """Merge reports under the primary ids of their messages. The arguments are not changed."""
    merged: dict[ReportKey, MessageReport] = {}
    for (unit, external_id, claim), report in reports:
        primary = aliases.get((unit, external_id), external_id)
        merged.setdefault((unit, primary, claim), MessageReport()).merge(report)
    return merged


def report_rows(reports: Mapping[ReportKey, MessageReport]) -> list[Row]:
    """Rows in the order in which all transactions take their locks."""
    return [report.row(key) for key, report in sorted(reports.items(), key=lambda item: item[0])]


async def merge_reports(
    conn: Connection, rows: list[Row], changed: list[ChangedMessage]
) -> dict[ReportKey, bool | None]:
    """Merge reports into the messages that exist and that they may change. Adds what changed to ``changed``.

    Returns for each report whose message exists whether it fits (None: that cannot be told yet).
    """
    judged: dict[ReportKey, bool | None] = {}
    told: set[object] = set()
    for row in await _SQL.run_batch(conn, "merge_reports", rows):
        unit, external = UnitId(row.unit_id), ExternalId(row.external_id)
        judged[unit, external, row.claim] = row.fits
        if row.id is not None and row.id not in told and (row.delivery or row.edited or row.deleted or row.refusal):
            told.add(row.id)
            what = (row.delivery, row.edited, row.deleted, row.refusal, row.edit_text_unknown)
            changed.append(ChangedMessage(unit, row.id, external, row.client_message_id, row.conversation_id, *what))
    return judged
