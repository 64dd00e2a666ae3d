"""Asks where a unit's messages are, as the API and the console do."""

import time

from zapline.domain.ids import UnitId
from zapline.domain.journeys.journey import LineNow, StepKind, judge, steps_of
from zapline.domain.timestamps import iso
from zapline.http.api.units.message_journeys import line_now
from zapline.http.api.units.unit_responses import OutboundBody, SendingBody
from zapline.sql.conversations.journeys import TracedMessage, trace_message
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.row_level_security import unit_scope
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.sender_state import SenderStatus

OPEN = LineNow(open=True, reason="scan_completed")


def line_of(unit: Unit, status: SenderStatus) -> LineNow:
    """The unit's line and sender, as the daemon's own status tells them."""
    sending = SendingBody(status.state.value, status.reason, iso(status.paused_until), iso(status.throttled_until))
    return line_now(unit, OutboundBody(sending, None))


async def traces(url: str, unit: UnitId) -> list[TracedMessage]:
    """All messages of the unit in the order of their arrival, as the API's role reads them."""
    async with Pool.open(url, size=1, role="zapline_api") as pool:
        async with unit_scope(pool, unit) as conn:
            rows = await conn.fetch("select id from zapline.messages where unit_id = %s order by seq", (unit,))
        found = [await trace_message(pool, unit, row.id) for row in rows]
    return [one for one in found if one is not None]


async def verdicts(url: str, unit: UnitId, line: LineNow = OPEN) -> list[tuple[str, str | None]]:
    """Where each message is, and why."""
    findings = [judge(one.trace, line, time.time()) for one in await traces(url, unit)]
    return [(finding.verdict.value, finding.reason) for finding in findings]


async def steps(url: str, unit: UnitId) -> list[list[StepKind]]:
    """The steps of each message."""
    return [[step.kind for step in steps_of(one.trace, time.time())] for one in await traces(url, unit)]
