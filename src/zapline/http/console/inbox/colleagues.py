"""Shows who else has a conversation open, and takes note of who types; from memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import UUID

from quart import Response, request

from zapline.domain.ids import UnitId
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout
from zapline.supervisors.conversations.colleagues import Colleague, Colleagues
from zapline.supervisors.units.unit_commands import UnitCommands


class ColleagueParts:
    """``/console/units/{unit}/conversations/{conversation}/colleagues`` and ``.../typing``."""

    def __init__(self, layout: Layout, commands: UnitCommands, colleagues: Colleagues) -> None:
        self._layout = layout
        self._commands = commands
        self._colleagues = colleagues

    def attach(self) -> None:
        path = "/console/units/<uuid:unit>/conversations/<uuid:conversation>"
        self._layout.get(f"{path}/colleagues", "thread_colleagues", self.part)
        self._layout.post(f"{path}/typing", "thread_typing", self.type)

    async def part(self, unit: UUID, conversation: UUID) -> Response:
        id = self._commands.find(UnitId(unit)).id
        found = self._colleagues.others(id, conversation, current_principal().name)
        return self._layout.render("colleagues.html", typing=_names(found, True), reading=_names(found, False))

    async def type(self, unit: UUID, conversation: UUID) -> Response:
        """Note that the caller types in this conversation, or has ceased to."""
        id, active = self._commands.find(UnitId(unit)).id, (await read_form()).checked("active")
        self._colleagues.type(id, conversation, current_principal().name, active)
        return Response(b"", 204)


def presence_of(colleagues: Colleagues, unit: UnitId) -> AbstractContextManager[None]:
    """Counts the caller as a reader of the conversation that the query names, for as long as his stream is open."""
    name = current_principal().name
    try:
        conversation = UUID(request.args.get("conversation", ""))
    except ValueError:
        return _nowhere()
    return colleagues.reading(unit, conversation, name)


@contextmanager
def _nowhere() -> Iterator[None]:
    yield


def _names(people: list[Colleague], typing: bool) -> list[str]:
    """As they are shown: what stands before the @ of an e-mail address."""
    return [one.name.partition("@")[0] for one in people if one.typing is typing]
