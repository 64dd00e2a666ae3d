"""Control requests on Evolution servers; extra verbs of ``control_requests``. None of them holds a key."""

from typing import Any
from uuid import UUID

import msgspec

from zapline.domain.ids import UnitId
from zapline.supervisors.operations.control_requests import VerbHandler
from zapline.supervisors.servers.server_commands import ServerCommands


class _Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: UUID
    server: str
    leave_behind: bool = False


def server_verbs(servers: ServerCommands) -> dict[str, VerbHandler]:
    """Handlers by verb."""

    async def move(arguments: _Move) -> dict[str, Any]:
        stored = await servers.move(UnitId(arguments.unit), arguments.server, arguments.leave_behind)
        return {"status": stored.status}

    return {"move-unit": (_Move, move)}
