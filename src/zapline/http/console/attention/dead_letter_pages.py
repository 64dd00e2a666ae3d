"""Shows dead letters, one with its body (escaped and bounded), and replays or gives them up."""

from functools import partial
from uuid import UUID

from quart import Response

from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.http.api.framework.paging import BIGINT
from zapline.http.console.attention.attention_pages import ALL_PATH, PATH, dead_letter_reason, return_path
from zapline.http.console.framework.layout import Change, Layout, query_number
from zapline.http.console.framework.translation import _
from zapline.sql.conversations import attention, conversations
from zapline.sql.health.dead_letters import DeadLetter
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands, UnknownDeadLetter

_PAGE = 50
_MAX_SHOWN = 20_000
"""Characters of a body that a page shows; the download has all of it."""


class DeadLetterPages:
    """``/console/attention/letters`` for all units, ``/console/units/{unit}/attention/letters`` for one."""

    def __init__(self, layout: Layout, commands: UnitCommands, roster: Roster, pool: Pool) -> None:
        self._layout = layout
        self._commands = commands
        self._roster = roster
        self._pool = pool

    def attach(self) -> None:
        layout, unit_path = self._layout, "/console/units/<uuid:unit>/attention/letters"
        layout.get(f"{ALL_PATH}/letters", "dead_letters_all", self.list)
        layout.get(unit_path, "dead_letters", self.list)
        layout.get(f"{unit_path}/<int:letter>", "dead_letter", self.show)
        layout.get(f"{unit_path}/<int:letter>/raw", "dead_letter_raw", self.raw)
        layout.post(f"{unit_path}/<int:letter>/replay", "dead_letter_replay", self.replay)
        layout.post(f"{unit_path}/<int:letter>/give-up", "dead_letter_give_up", self.give_up)

    async def list(self, unit: UUID | None = None) -> Response:
        record = self._commands.find(UnitId(unit)).record if unit is not None else None
        before = query_number("before", BIGINT, BIGINT)
        id = record.id if record is not None else None
        rows = await attention.list_dead_letters(self._pool, id, before, _PAGE + 1)
        page = rows[:_PAGE]
        base = f"{PATH.format(unit=unit) if unit is not None else ALL_PATH}/letters"
        return self._layout.render(
            "dead_letters.html",
            at="attention",
            unit=record,
            dead_letters=page,
            older=f"{base}?before={page[-1].id}" if len(rows) > _PAGE else None,
            newest=base if before != BIGINT else None,
            unit_names={unit.id: unit.record.name for unit in self._roster.units()},
            dead_letter_reason=dead_letter_reason,
        )

    async def show(self, unit: UUID, letter: int) -> Response:
        record = self._commands.find(UnitId(unit)).record
        dead_letter = await self._find(record.id, letter)
        raw = dead_letter.raw
        text = raw[: 4 * _MAX_SHOWN].decode("utf-8", "replace") if raw is not None else None
        return self._layout.render(
            "dead_letter.html",
            at="attention",
            unit=record,
            dead_letter=dead_letter,
            text=_readable(text[:_MAX_SHOWN]) if text is not None else None,
            cut=raw is not None and ((text is not None and len(text) > _MAX_SHOWN) or len(raw) > 4 * _MAX_SHOWN),
            max_shown=_MAX_SHOWN,
            reason=dead_letter_reason(dead_letter.reason),
            zone=record.time_zone,
        )

    async def raw(self, unit: UUID, letter: int) -> Response:
        """The body as it was received, as a download."""
        dead_letter = await self._find(self._commands.find(UnitId(unit)).id, letter)
        if dead_letter.raw is None:
            raise UnknownDeadLetter("the body was not kept")
        answer = Response(dead_letter.raw, content_type="application/octet-stream")
        answer.headers["Content-Disposition"] = f'attachment; filename="dead-letter-{dead_letter.id}.json"'
        return answer

    async def replay(self, unit: UUID, letter: int) -> Response:
        id = self._commands.find(UnitId(unit)).id
        done = _("It was given to the unit again. If it cannot be used again, it comes back here.")
        change = partial(self._commands.replay_dead_letter, letter, id)
        return await self._perform(id, letter, "replay_unit_dead_letter", change, done)

    async def give_up(self, unit: UUID, letter: int) -> Response:
        id = self._commands.find(UnitId(unit)).id
        change = partial(self._commands.give_up_dead_letter, id, letter)
        return await self._perform(id, letter, "give_up_dead_letter", change, _("It is left alone."))

    async def _perform(self, unit: UnitId, letter: int, action: str, change: Change, done: str) -> Response:
        if letter > BIGINT:
            raise UnknownDeadLetter("there is no such dead letter")
        return await self._layout.perform(
            action, unit, str(letter), change, await return_path(unit), done, refusals=ZaplineError
        )

    async def _find(self, unit: UnitId, letter: int) -> DeadLetter:
        dead_letter = await conversations.find_dead_letter(self._pool, unit, letter) if letter <= BIGINT else None
        if dead_letter is None:
            raise UnknownDeadLetter("there is no such dead letter")
        return dead_letter


def _readable(text: str) -> str:
    """A body with invisible characters, and those that change the direction of text, written as escapes."""
    return "".join(each if each.isprintable() or each in "\n\t" else f"\\u{ord(each):04x}" for each in text)
