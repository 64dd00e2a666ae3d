"""What tenants' tokens may set at most, and how many requests they make."""

from dataclasses import asdict

from quart import Response

from zapline.domain.tenants.ceilings import Ceilings
from zapline.http.api.accounts.ceilings import MAX_COUNT
from zapline.http.api.framework.problems import Problem
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.forms import Form, field_of, read_form, refusal_text
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.translation import _
from zapline.supervisors.accounts.tenant_ceilings import TenantCeilings
from zapline.supervisors.notifications.crm_webhook_commands import MAX_HOOKS

PATH = "/console/ceilings"


class CeilingsPage:
    """``/console/ceilings``."""

    def __init__(self, layout: Layout, ceilings: TenantCeilings) -> None:
        self._layout = layout
        self._ceilings = ceilings

    def attach(self) -> None:
        self._layout.get(PATH, "ceilings", self.show)
        self._layout.post(PATH, "put_ceilings", self.change)

    async def show(self) -> Response:
        stored = asdict(await self._ceilings.load())
        return self._page({name: f"{value:g}" if isinstance(value, float) else value for name, value in stored.items()})

    async def change(self) -> Response:
        form = await read_form()
        try:
            wanted = _ceilings(form)
        except Problem as refused:
            return self._page(form.typed(), refusal_text(refused), field_of(refused))
        async with self._layout.audited("put_ceilings") as line:
            line.note(**asdict(wanted))
            await self._ceilings.replace(wanted)
        return self._layout.redirect(PATH, Tone.GOOD, _("Saved. It holds for what tokens set from now on."))

    def _page(self, values: dict[str, object] | dict[str, str | bool], error: str = "", wrong: str = "") -> Response:
        shown = {name: "" if values.get(name) is None else values[name] for name in Ceilings.__slots__}
        status = 422 if error else 200
        return self._layout.render("ceilings.html", status, at="organizations", values=shown, error=error, wrong=wrong)


def _ceilings(form: Form) -> Ceilings:
    """The ceilings in the form, in the API's ranges. Raises Problem 422."""
    return Ceilings(
        per_minute=form.number("per_minute", 0.1, 6000),
        burst=form.integer("burst", 1, 1000),
        gap_seconds=form.number("gap_seconds", 0, 3600),
        campaign_seconds=form.number("campaign_seconds", 0.001, 3600),
        daily_cap=form.integer("daily_cap", 1, MAX_COUNT),
        hooks=form.integer("hooks", 0, MAX_HOOKS),
        tokens=form.integer("tokens", 1, MAX_COUNT),
        requests_per_minute=form.integer("requests_per_minute", 1, MAX_COUNT),
    )
