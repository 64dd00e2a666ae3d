"""A unit's access tokens for its CRM: created, shown once and revoked."""

from datetime import UTC, datetime
from uuid import UUID

from quart import Response

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Scope
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.forms import read_form, refusal_text
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.units.unit_page import PATH
from zapline.sql.accounts.access_tokens import TokenRecord
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.unit_commands import UnitCommands

_MAX_TOKENS = 200
"""Tokens on the page; a unit has a few."""
SCOPE_LABELS = {
    Scope.READ: N_("read: see the line, conversations and messages"),
    Scope.SEND: N_("send: write messages and run campaigns"),
    Scope.CONTROL: N_("control: connect the line and change its settings"),
}


class TokensPage:
    """``/console/units/{unit}/tokens``."""

    def __init__(self, layout: Layout, commands: UnitCommands, identity: Authentication) -> None:
        self._layout = layout
        self._commands = commands
        self._identity = identity

    def attach(self) -> None:
        self._layout.get(f"{PATH}/tokens", "tokens", self.show)
        self._layout.post(f"{PATH}/tokens", "mint_token", self.mint)
        self._layout.get(f"{PATH}/tokens/<uuid:token>/revoke", "confirm_revoke_token", self.confirm_revoke)
        self._layout.post(f"{PATH}/tokens/<uuid:token>/revoke", "revoke_token", self.revoke)

    async def show(self, unit: UUID) -> Response:
        return await self._page(self._commands.find(UnitId(unit)))

    async def mint(self, unit: UUID) -> Response:
        """Create a token. Only the answer to this form shows it."""
        owner, form = self._commands.find(UnitId(unit)), await read_form()
        try:
            label, days = form.text("label", 100), form.integer("days", 1, 3650)
            per_minute = form.integer("requests_per_minute", 1, 1_000_000)
            if not label or not label.isprintable():
                raise invalid("label", "is a line of text")
            scopes = frozenset(scope for scope in Scope if form.checked(scope.value))
            if not scopes:
                raise invalid("scopes", "choose at least one thing that it may do")
        except Problem as refused:
            return await self._page(owner, error=refusal_text(refused))
        try:
            async with self._layout.audited("mint_token", owner.id) as line:
                line.note(label=label, scopes=[scope.value for scope in Scope if scope in scopes])
                who = current_principal().name
                minted = await self._identity.mint_unit_token(owner.id, label, scopes, who, days, per_minute)
        except LocalError as refused:
            return await self._page(owner, error=error_text(refused))
        return await self._page(owner, minted=minted.token)

    async def confirm_revoke(self, unit: UUID, token: UUID) -> Response:
        owner = self._commands.find(UnitId(unit))
        matching = [each for each in await self._identity.unit_tokens(owner.id, None, _MAX_TOKENS) if each.id == token]
        if not matching:
            return self._layout.redirect(f"/console/units/{unit}/tokens")
        return self._layout.render("revoke_token.html", at="settings", unit=owner.record, token=matching[0])

    async def revoke(self, unit: UUID, token: UUID) -> Response:
        try:
            async with self._layout.audited("revoke_token", UnitId(unit), str(token)) as line:
                label = await self._identity.revoke_unit_token(UnitId(unit), token)
                line.note(label=label)
        except LocalError as refused:
            return self._layout.redirect(f"/console/units/{unit}/tokens", Tone.BAD, error_text(refused))
        return self._layout.redirect(
            f"/console/units/{unit}/tokens", Tone.GOOD, _("{label} opens nothing any more.", label=label)
        )

    async def _page(self, unit: Unit, error: str = "", minted: str = "") -> Response:
        rows = await self._identity.unit_tokens(unit.id, None, _MAX_TOKENS)
        now = datetime.now(UTC)
        return self._layout.render(
            "tokens.html",
            422 if error else 200,
            at="settings",
            unit=unit.record,
            rows=[(token, is_valid(token, now)) for token in rows],
            scopes=[(scope.value, _(label)) for scope, label in SCOPE_LABELS.items()],
            error=error,
            minted=minted,
        )


def is_valid(token: TokenRecord, now: datetime) -> bool:
    """Whether the token has neither ended nor been revoked."""
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > now)
