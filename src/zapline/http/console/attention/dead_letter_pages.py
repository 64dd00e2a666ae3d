"""Dead letters in the console: one with its body, escaped and bounded, and what becomes of it."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from quart import Response

from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.http.api.framework.paging import BIGINT
from zapline.http.console.attention.attention_pages import PATH, dead_letter_reason
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout, query_number
from zapline.http.console.framework.session_guard import safe_return_path
from zapline.http.console.framework.translation import _
from zapline.sql.conversations import attention, conversations
from zapline.sql.inbound.dead_letters import DeadLetter
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands, UnknownDeadLetter

_PAGE = 50
_SHOWN = 20_000
"""Characters of a body that a page shows; the download has all of it."""


class DeadLetterPages:
    """``/console/units/{unit}/attention/letters/...``, and the list of all that there were."""

    def __init__(self, layout: Layout, commands: UnitCommands, roster: Roster, pool: Pool) -> None:
        self._layout = layout
        self._commands = commands
        self._roster = roster
        self._pool = pool

    def attach(self) -> None:
        every, of = "/console/attention/letters", "/console/units/<uuid:unit>/attention/letters"
        self._layout.get(every, "letters_all", self.list_all)
        self._layout.get(of, "letters", self.list_of)
        self._layout.get(f"{of}/<int:letter>", "letter", self.show)
        self._layout.get(f"{of}/<int:letter>/raw", "letter_raw", self.raw)
        self._layout.post(f"{of}/<int:letter>/replay", "letter_replay", self.replay)
        self._layout.post(f"{of}/<int:letter>/give-up", "letter_give_up", self.give_up)

    async def list_all(self) -> Response:
        return await self._list(None)

    async def list_of(self, unit: UUID) -> Response:
        return await self._list(UnitId(unit))

    async def _list(self, unit: UnitId | None) -> Response:
        record = self._commands.find(unit).record if unit is not None else None
        before = query_number("before", BIGINT, BIGINT)
        found = await attention.list_dead_letters(self._pool, unit, before, _PAGE + 1)
        page = found[:_PAGE]
        base = f"{PATH.format(unit=unit)}/letters" if unit is not None else "/console/attention/letters"
        return self._layout.render(
            "letters.html",
            at="attention",
            unit=record,
            letters=page,
            older=f"{base}?before={page[-1].id}" if len(found) > _PAGE else None,
            newest=base if before != BIGINT else None,
            names={one.id: one.record.name for one in self._roster.units()},
            dead_letter_reason=dead_letter_reason,
        )

    async def show(self, unit: UUID, letter: int) -> Response:
        record = self._commands.find(UnitId(unit)).record
        found = await self._found(record.id, letter)
        text = None
        if found.raw is not None:
            text = found.raw[: 4 * _SHOWN].decode("utf-8", "replace")
        return self._layout.render(
            "letter.html",
            at="attention",
            unit=record,
            letter=found,
            text=_readable(text[:_SHOWN]) if text is not None else None,
            cut=found.raw is not None and ((text is not None and len(text) > _SHOWN) or len(found.raw) > 4 * _SHOWN),
            shown=_SHOWN,
            reason=dead_letter_reason(found.reason),
            zone=record.time_zone,
        )

    async def raw(self, unit: UUID, letter: int) -> Response:
        """The body, as it came, to be kept and not to be shown."""
        found = await self._found(self._commands.find(UnitId(unit)).id, letter)
        if found.raw is None:
            raise UnknownDeadLetter("the body was not kept")
        answer = Response(found.raw, content_type="application/octet-stream")
        answer.headers["Content-Disposition"] = f'attachment; filename="dead-letter-{found.id}.json"'
        return answer

    async def replay(self, unit: UUID, letter: int) -> Response:
        id = self._commands.find(UnitId(unit)).id
        said = _("It was given to the unit again. If it cannot be used again, it comes back here.")
        return await self._do(
            id, letter, "replay_unit_dead_letter", lambda: self._commands.replay_dead_letter(letter, id), said
        )

    async def give_up(self, unit: UUID, letter: int) -> Response:
        id = self._commands.find(UnitId(unit)).id
        said = _("It is left alone.")
        return await self._do(
            id, letter, "give_up_dead_letter", lambda: self._commands.give_up_dead_letter(id, letter), said
        )

    async def _do(
        self, unit: UnitId, letter: int, action: str, change: Callable[[], Awaitable[object]], said: str
    ) -> Response:
        given = safe_return_path((await read_form()).text("back", 300))
        back = given if given == "/console/attention" else PATH.format(unit=unit)
        if letter > BIGINT:
            raise UnknownDeadLetter("there is no such dead letter")
        try:
            async with self._layout.audited(action, unit, str(letter)):
                await change()
        except ZaplineError as error:
            return self._layout.redirect(back, Tone.BAD, _(str(error)))
        return self._layout.redirect(back, Tone.GOOD, said)

    async def _found(self, unit: UnitId, letter: int) -> DeadLetter:
        found = await conversations.find_dead_letter(self._pool, unit, letter) if letter <= BIGINT else None
        if found is None:
            raise UnknownDeadLetter("there is no such dead letter")
        return found


def _readable(text: str) -> str:
    """A body with what cannot be seen or would turn its surroundings written out."""
    return "".join(one if one.isprintable() or one in "\n\t" else f"\\u{ord(one):04x}" for one in text)
