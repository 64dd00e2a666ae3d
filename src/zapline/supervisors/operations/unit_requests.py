"""Control requests on a unit's settings and on the people in it; extra verbs of ``control_requests``."""

from typing import Any
from uuid import UUID

import msgspec

from zapline.domain.ids import UnitId
from zapline.domain.line.webhook_registration import WebhookRegistrationMode
from zapline.domain.privacy.masking import mask_phone
from zapline.supervisors.operations.control_requests import OneUnit, VerbHandler
from zapline.supervisors.privacy.erasure_jobs import ErasureJobs
from zapline.supervisors.units.unit_lifecycle import UnitLifecycle, UnitSettingsChange


class _Rename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: UUID
    name: str


class _Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: UUID
    mode: WebhookRegistrationMode


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
        """The person as shown in the audit log."""
        return mask_phone(self.phone) if self.phone is not None else str(self.contact)


def unit_verbs(lifecycle: UnitLifecycle, erasures: ErasureJobs) -> dict[str, VerbHandler]:
    """Handlers by verb."""

    async def rename(arguments: _Rename) -> dict[str, Any]:
        change = UnitSettingsChange(name=arguments.name)
        return {"name": (await lifecycle.change(UnitId(arguments.unit), change)).record.name}

    async def keep(arguments: _Keep) -> dict[str, Any]:
        change = UnitSettingsChange(retention_days=arguments.days, keep_retention=False)
        return {"retentionDays": (await lifecycle.change(UnitId(arguments.unit), change)).record.retention_days}

    async def registration(arguments: _Registration) -> dict[str, Any]:
        change = UnitSettingsChange(webhook_registration=arguments.mode)
        changed = await lifecycle.change(UnitId(arguments.unit), change)
        return {"webhookRegistration": changed.record.webhook_registration.value}

    async def pause(arguments: OneUnit) -> dict[str, Any]:
        return {"pausedAt": (await lifecycle.pause(UnitId(arguments.unit))).record.paused_at}

    async def resume(arguments: OneUnit) -> None:
        await lifecycle.resume(UnitId(arguments.unit))

    async def erase(arguments: _Erase) -> dict[str, Any]:
        return {"erasure": str(await erasures.request(UnitId(arguments.unit), arguments.phone, arguments.contact))}

    return {
        "rename-unit": (_Rename, rename),
        "keep-messages": (_Keep, keep),
        "webhook-registration": (_Registration, registration),
        "pause-unit": (OneUnit, pause),
        "resume-unit": (OneUnit, resume),
        "erase-person": (_Erase, erase),
    }
