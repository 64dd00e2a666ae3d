"""Control requests on alarms; extra verbs of ``control_requests``. None of them holds an address."""

from typing import Any
from uuid import UUID

import msgspec

from zapline.supervisors.alarms.alarm_commands import AlarmCommands
from zapline.supervisors.operations.control_requests import VerbHandler


class _Test(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: UUID | None = None


def alarm_verbs(commands: AlarmCommands) -> dict[str, VerbHandler]:
    """Handlers by verb."""

    async def test(arguments: _Test) -> dict[str, Any]:
        results = await commands.test(arguments.id)
        return {
            "results": [
                {"id": str(each.destination.id), "to": each.destination.shown, "error": each.error} for each in results
            ]
        }

    return {"test-alarms": (_Test, test)}
