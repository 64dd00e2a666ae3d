"""Which files of its messages a unit keeps, for how long, and how much room they take."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from quart import Response

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.messages.facts import MessageKind
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.api.units.kept_files import DEFAULT_MAX, DEFAULT_QUOTA
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.forms import Form, field_of, read_form, refusal_text
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.message_labels import file_size
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.units.unit_page import PATH
from zapline.sql.files.file_policies import FilePolicy
from zapline.supervisors.files.policies import KINDS, MAX_FILE, MOST_DAYS, FilePolicies
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.unit_commands import UnitCommands

_MIB = 1024 * 1024
_LABELS = {
    MessageKind.IMAGE: N_("Photos"),
    MessageKind.VIDEO: N_("Videos"),
    MessageKind.AUDIO: N_("Audio files"),
    MessageKind.VOICE: N_("Voice messages"),
    MessageKind.DOCUMENT: N_("Documents"),
    MessageKind.STICKER: N_("Stickers"),
}


@dataclass(eq=False, repr=False)
class KeptFilesPage:
    """``/console/units/{unit}/files``."""

    _layout: Layout
    _commands: UnitCommands
    _policies: FilePolicies

    def attach(self) -> None:
        self._layout.get(f"{PATH}/files", "kept_files", self.show)
        self._layout.post(f"{PATH}/files", "put_file_policy", self.change)

    async def show(self, unit: UUID) -> Response:
        return await self._page(self._commands.find(UnitId(unit)))

    async def change(self, unit: UUID) -> Response:
        owner, form = self._commands.find(UnitId(unit)), await read_form()
        try:
            policy = self._policy(form)
            async with self._layout.audited("put_file_policy", owner.id) as line:
                line.note(kinds=",".join(policy.kinds), days=policy.days, quotaBytes=policy.quota_bytes)
                await self._policies.change(owner.id, policy)
        except (LocalError, Problem) as refused:
            return await self._page(owner, refusal_text(refused), dict(form.fields.items()), field_of(refused))
        return self._layout.redirect(f"/console/units/{unit}/files", Tone.GOOD, _("Saved."))

    def _policy(self, form: Form) -> FilePolicy:
        """Raises Problem 422."""
        kinds = [kind.value for kind in KINDS if form.checked(kind.value)]
        largest = form.integer("max_bytes", 1, MAX_FILE // _MIB)
        quota = form.integer("quota_bytes", 1, max(1, self._policies.quota_ceiling // _MIB))
        if largest is None or quota is None:
            raise invalid("max_bytes" if largest is None else "quota_bytes", "is missing")
        return FilePolicy(kinds, largest * _MIB, quota * _MIB, form.integer("kept_days", 1, MOST_DAYS))

    async def _page(
        self, unit: Unit, error: str = "", typed: dict[str, str] | None = None, field: str = ""
    ) -> Response:
        shown = await self._policies.show(unit.id)
        default = FilePolicy((), DEFAULT_MAX, min(DEFAULT_QUOTA, shown.quota_ceiling), None)
        policy = shown.policy or default
        values: dict[str, Any] = {
            "max_bytes": max(1, policy.max_bytes // _MIB),
            "quota_bytes": max(1, policy.quota_bytes // _MIB),
            "kept_days": policy.days or "",
            **dict.fromkeys(policy.kinds, True),
        }
        if typed is not None:
            values = dict.fromkeys(("max_bytes", "quota_bytes", "kept_days"), "") | typed
        return self._layout.render(
            "kept_files.html",
            422 if error else 200,
            at="settings",
            unit=unit.record,
            values=dict.fromkeys(("max_bytes", "quota_bytes", "kept_days"), "") | typed
            if typed is not None
            else values,
            kinds=[(kind.value, label) for kind, label in _LABELS.items()],
            usage=shown.usage,
            used=file_size(shown.usage.bytes) or "0 B",
            ceiling=file_size(shown.quota_ceiling),
            error=error,
            wrong=field,
        )
