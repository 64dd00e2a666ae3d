"""A unit's webhooks to its CRM: created, tested, replayed and deleted."""

from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

from quart import Response
from werkzeug.exceptions import NotFound

from zapline.domain.crm_webhooks import CrmWebhookEvent
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Change, Layout
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.units.unit_page import PATH
from zapline.sql.notifications import crm_webhooks as stored_hooks
from zapline.sql.notifications.crm_webhooks import Hook
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.notifications.crm_webhook_commands import AskedHook, CrmWebhooks
from zapline.supervisors.units.unit_commands import UnitCommands

_HOOK_PATH = f"{PATH}/hooks/<uuid:hook>"
_MAX_DELIVERIES = 50
_DEAD_DELIVERIES_KEPT = timedelta(days=14)
DISABLED_REASONS = {
    "gone": N_("Disabled: it answered 410, which means that nobody wants it any more."),
    "failing": N_("Disabled: it has failed for days."),
    "unit_archived": N_("Disabled: the unit is closed."),
    "unit_left": N_("Disabled: the unit has left the organization that made it."),
}
DELIVERY_STATES = {
    "queued": ("busy", N_("waits")),
    "delivered": ("good", N_("delivered")),
    "dead": ("bad", N_("given up")),
}

CALL_ERRORS = {
    "unreachable": N_("no answer: nothing listens there, or no way leads there"),
    "timeout": N_("no answer within the time"),
    "address_refused": N_("the address is not a public one"),
    "tls_failed": N_("its certificate is not trusted"),
    "broken_connection": N_("the connection broke"),
    "subject_gone": N_("nothing was told: what it was about is erased"),
}
"""Why a call got no answer, by its code."""


class CrmWebhookPages:
    """``/console/units/{unit}/hooks``."""

    def __init__(self, layout: Layout, commands: UnitCommands, hooks: CrmWebhooks, pool: Pool) -> None:
        self._layout = layout
        self._commands = commands
        self._hooks = hooks
        self._pool = pool

    def attach(self) -> None:
        self._layout.get(f"{PATH}/hooks", "hooks", self.show)
        self._layout.post(f"{PATH}/hooks", "create_hook", self.create)
        self._layout.get(_HOOK_PATH, "hook", self.show_one)
        self._layout.post(f"{_HOOK_PATH}/test", "test_hook", self.test)
        self._layout.post(f"{_HOOK_PATH}/enable", "enable_hook", self.enable)
        self._layout.post(f"{_HOOK_PATH}/rotate-key", "rotate_hook_key", self.rotate)
        self._layout.post(f"{_HOOK_PATH}/replay", "replay_dead_deliveries", self.replay_dead)
        self._layout.post(f"{_HOOK_PATH}/deliveries/<uuid:delivery>/replay", "replay_delivery", self.replay)
        self._layout.get(f"{_HOOK_PATH}/delete", "confirm_delete_hook", self.confirm_delete)
        self._layout.post(f"{_HOOK_PATH}/delete", "delete_hook", self.delete)

    async def show(self, unit: UUID) -> Response:
        return await self._list_page(self._commands.find(UnitId(unit)))

    async def create(self, unit: UUID) -> Response:
        """Create a webhook. Only the answer to this form shows its secret."""
        owner, form = self._commands.find(UnitId(unit)), await read_form()
        url = form.text("url", 2048)
        events = [event for event in CrmWebhookEvent if form.checked(event.value)] or list(CrmWebhookEvent)
        try:
            async with self._layout.audited("create_hook", owner.id) as line:
                line.note(events=[event.value for event in events])
                hook, secret = await self._hooks.create(owner.id, AskedHook(url, events))
        except LocalError as refused:
            return await self._list_page(owner, url, error_text(refused))
        return await self._hook_page(owner, hook, secret)

    async def show_one(self, unit: UUID, hook: UUID) -> Response:
        return await self._hook_page(*await self._find(unit, hook))

    async def rotate(self, unit: UUID, hook: UUID) -> Response:
        """Rotate the secret. Only the answer to this form shows the new one."""
        owner = self._commands.find(UnitId(unit))
        async with self._layout.audited("rotate_hook_key", owner.id, str(hook)):
            changed, secret = await self._hooks.rotate_key(owner.id, hook)
        return await self._hook_page(owner, changed, secret)

    async def test(self, unit: UUID, hook: UUID) -> Response:
        change = partial(self._hooks.send_test, UnitId(unit), hook)
        return await self._perform("test_hook", unit, hook, change, _("A hook.test is on its way; it appears below."))

    async def enable(self, unit: UUID, hook: UUID) -> Response:
        change = partial(self._hooks.enable, UnitId(unit), hook)
        return await self._perform("enable_hook", unit, hook, change, _("The hook is served again."))

    async def replay(self, unit: UUID, hook: UUID, delivery: UUID) -> Response:
        change, target = partial(self._hooks.replay, UnitId(unit), hook, delivery), f"{hook} {delivery}"
        return await self._perform("replay_delivery", unit, hook, change, _("It is delivered once more."), target)

    async def replay_dead(self, unit: UUID, hook: UUID) -> Response:
        since = (datetime.now(UTC) - _DEAD_DELIVERIES_KEPT).timestamp()
        change, done = (
            partial(self._hooks.replay_dead, UnitId(unit), hook, since),
            _("What died is delivered once more."),
        )
        return await self._perform("replay_dead_deliveries", unit, hook, change, done)

    async def confirm_delete(self, unit: UUID, hook: UUID) -> Response:
        owner, stored = await self._find(unit, hook)
        return self._layout.render("delete_crm_webhook.html", at="settings", unit=owner.record, hook=stored)

    async def delete(self, unit: UUID, hook: UUID) -> Response:
        async with self._layout.audited("delete_hook", UnitId(unit), str(hook)):
            await self._hooks.delete(UnitId(unit), hook)
        return self._layout.redirect(f"/console/units/{unit}/hooks", Tone.GOOD, _("The hook is removed."))

    async def _perform(
        self, action: str, unit: UUID, hook: UUID, change: Change, done: str, target: str = ""
    ) -> Response:
        page = f"/console/units/{unit}/hooks/{hook}"
        return await self._layout.perform(action, unit, target or str(hook), change, page, done)

    async def _find(self, unit: UUID, hook: UUID) -> tuple[Unit, Hook]:
        owner = self._commands.find(UnitId(unit))
        stored = await stored_hooks.load_hook(self._pool, owner.id, hook)
        if stored is None:
            raise NotFound
        return owner, stored

    async def _list_page(self, unit: Unit, url: str = "", error: str = "") -> Response:
        rows = await stored_hooks.list_hooks(self._pool, unit.id)
        return self._layout.render(
            "crm_webhooks.html",
            422 if error else 200,
            at="settings",
            unit=unit.record,
            rows=rows,
            all_events=[event.value for event in CrmWebhookEvent],
            url=url,
            error=error,
        )

    async def _hook_page(self, unit: Unit, hook: Hook, secret: str = "") -> Response:
        rows = await stored_hooks.list_deliveries(self._pool, unit.id, hook.id, None, None, _MAX_DELIVERIES)
        return self._layout.render(
            "crm_webhook.html",
            at="settings",
            unit=unit.record,
            hook=hook,
            reason=_(DISABLED_REASONS[hook.disabled_reason]) if hook.disabled_reason in DISABLED_REASONS else "",
            rows=[(delivery, *_state(delivery.state)) for delivery in rows],
            call_errors=CALL_ERRORS,
            secret=secret,
        )


def _state(name: str) -> tuple[str, str]:
    tone, label = DELIVERY_STATES.get(name, ("idle", name))
    return tone, _(label)
