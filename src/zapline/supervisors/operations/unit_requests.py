"""What the command line may ask about a unit's settings and its people, as verbs of ``supervisors.control``."""

from typing import Any
from uuid import UUID

import msgspec

from zapline.domain.ids import UnitId
from zapline.domain.privacy.masking import mask_phone
from zapline.supervisors.operations.control_requests import Verb
from zapline.supervisors.privacy.erasure_jobs import Erasures
from zapline.supervisors.units.unit_lifecycle import Settings, UnitChanges


class _OneUnit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: UUID


class _Rename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: UUID
    name: str


class _Keep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: UUID
    days: int | None
    """None: for ever."""


class _Erase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: UUID
    phone: str | None = None
    contact: UUID | None = None

    @property
    def id(self) -> str:
        """What the audit log may know of it."""
        return mask_phone(self.phone) if self.phone is not None else str(self.contact)


def unit_verbs(changes: UnitChanges, erasures: Erasures) -> dict[str, Verb]:
    """The verbs, by name."""

    async def rename(told: _Rename) -> dict[str, Any]:
        return {"name": (await changes.change(UnitId(told.unit), Settings(name=told.name))).record.name}

    async def keep(told: _Keep) -> dict[str, Any]:
        asked = Settings(retention_days=told.days, keep_retention=False)
        return {"retentionDays": (await changes.change(UnitId(told.unit), asked)).record.retention_days}

    async def pause(told: _OneUnit) -> dict[str, Any]:
        return {"pausedAt": (await changes.pause(UnitId(told.unit))).record.paused_at}

    async def resume(told: _OneUnit) -> dict[str, Any]:
        await changes.resume(UnitId(told.unit))
        return {}

    async def erase(told: _Erase) -> dict[str, Any]:
        return {"erasure": str(await erasures.ask(UnitId(told.unit), told.phone, told.contact))}

    return {
        "rename-unit": (_Rename, rename),
        "keep-messages": (_Keep, keep),
        "pause-unit": (_OneUnit, pause),
        "resume-unit": (_OneUnit, resume),
        "erase-person": (_Erase, erase),
    }
