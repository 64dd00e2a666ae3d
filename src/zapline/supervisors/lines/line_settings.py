"""Has Evolution keep each line's settings and proxy as its unit wants them, and tells where somebody changed them."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec
import structlog
import trio

from zapline.domain.errors import LocalError, RemoteError
from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.line.line_settings import (
    NO_PROXY,
    LineProxy,
    LineSettings,
    proxy_differs,
    setting_differences,
)
from zapline.domain.line.webhook_registration import WebhookRegistrationMode
from zapline.domain.messages.message_secrets import SecretSealer
from zapline.evolution.client.failures import EvolutionFailure, InstanceUnknown, InvalidRequest
from zapline.evolution.client.line_setting_calls import find_proxy, find_settings, set_proxy, set_settings
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import line_settings as stored
from zapline.sql.units.line_settings import StoredLineSettings
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.server_standing import LineSettingsReport
from zapline.supervisors.inbound.unit_state import Unit

PROXY = "proxy"
"""As a difference, beside Evolution's names of settings."""
PROXY_REFUSED = "proxy_refused"
_PROXY_SECONDS = 30.0
"""Evolution tries a proxy out before it takes it."""
_CHANGE_SECONDS = 20.0
"""For which somebody who changes something waits for Evolution."""
_CHECK_SECONDS = 40.0
_AGAIN_SECONDS = 900.0
"""Until a proxy that was refused is offered again."""
_SEALED_AS = ExternalId("proxy")
_LOG = structlog.get_logger(scope="LineSettings")


class UnreadableProxy(LocalError):
    """The proxy was encrypted under another master key."""


@dataclass(frozen=True, slots=True)
class ShownLineSettings:
    """What a unit wants of its line, and what the last check has found. The proxy's credentials are left out."""

    stored: StoredLineSettings | None
    proxy: LineProxy | None
    report: LineSettingsReport | None
    """None: what is wanted now has not been checked yet."""

    @property
    def applied(self) -> bool:
        """Whether Evolution has had exactly what is wanted since the last change."""
        return self.stored is not None and self.stored.applied


class LineSettingsKeeper:
    """One for the process. ``pool`` is the engine's; ``sealer`` encrypts proxies; ``reload`` reads the units again."""

    def __init__(
        self,
        pool: Pool,
        client: EvolutionClient,
        sealer: SecretSealer,
        counters: Counters,
        reload: Callable[[], Awaitable[object]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._client = client
        self._sealer = sealer
        self._counters = counters
        self._reload = reload
        self._clock = clock
        self._turns: dict[UnitId, trio.Lock] = {}

    async def show(self, unit: Unit) -> ShownLineSettings:
        """What the unit wants, and what was found last. Raises DatabaseUnavailable."""
        async with self._pool.connection() as conn:
            found = await stored.load_line_settings(conn, unit.id)
        proxy = None
        if found is not None:
            with suppress(UnreadableProxy):
                proxy = self._proxy(unit.id, found)
        report = unit.line_settings
        if found is None or report is None or report.version != found.version:
            report = None
        return ShownLineSettings(found, proxy, report)

    async def change(self, unit: Unit, settings: LineSettings) -> ShownLineSettings:
        """Replace the settings; Evolution is told at once if it is there, else with the line's next check.

        Raises DatabaseUnavailable; never for Evolution, whose refusal stands in the report.
        """
        async with self._pool.connection() as conn:
            await stored.store_line_settings(conn, unit.id, settings)
        return await self._changed(unit)

    async def change_proxy(self, unit: Unit, proxy: LineProxy | None) -> ShownLineSettings:
        """Replace the proxy, or take it away; like ``change``. It holds from the line's next connection on."""
        sealed = self._sealer.seal(unit.id, _SEALED_AS, msgspec.json.encode(proxy)) if proxy is not None else None
        async with self._pool.connection() as conn:
            await stored.store_proxy(conn, unit.id, sealed)
        return await self._changed(unit)

    async def _changed(self, unit: Unit) -> ShownLineSettings:
        await self._reload()
        with trio.move_on_after(_CHANGE_SECONDS):  # else the line's next check goes on
            await self.check(unit, True)
        return await self.show(unit)

    async def check(self, unit: Unit, new: bool = False) -> None:
        """Read back what Evolution has, and set again what is not as wanted, unless the unit only observes.

        ``new``: the instance or the wish is new, so nobody has changed anything. Whatever fails is tried again with
        the line's next check; it is counted and told, never raised.
        """
        if not unit.record.has_line_settings:
            return
        with trio.move_on_after(_CHECK_SECONDS) as patience:
            async with self._turns.setdefault(unit.id, trio.Lock()):
                try:
                    async with self._pool.connection() as conn:
                        wanted = await stored.load_line_settings(conn, unit.id)
                    if wanted is not None:
                        await self._compare(unit, wanted, new)
                except RemoteError as failure:
                    code = failure.code if isinstance(failure, EvolutionFailure) else "unavailable"
                    self._counters.add("line_settings_failed", code)
                    _LOG.debug("A line's settings must wait", unit=str(unit.id), error=str(failure))
                except UnreadableProxy as unreadable:
                    self._counters.add("line_settings_failed", "proxy_unreadable")
                    _LOG.error("A line's proxy cannot be read", unit=str(unit.id), error=str(unreadable))
        if patience.cancelled_caught:
            self._counters.add("line_settings_failed", "deadline")

    async def _compare(self, unit: Unit, wanted: StoredLineSettings, new: bool) -> None:
        proxy = self._proxy(unit.id, wanted) if wanted.proxy_managed else None
        with suppress(InstanceUnknown):  # it gets them when it is made
            found = await self._differences(unit, wanted, proxy)
            changed = not new and wanted.applied
            enforce = not changed or unit.record.webhook_registration is WebhookRegistrationMode.ENFORCE
            left, error = found, None
            waits = found == (PROXY,) and not new and self._was_refused(unit, wanted.version)
            if waits:
                error = PROXY_REFUSED
            elif found and enforce:
                error = await self._set(unit, wanted, proxy, found)
                left = await self._differences(unit, wanted, proxy)
            if not left:
                async with self._pool.connection() as conn:
                    await stored.note_applied(conn, unit.id, wanted.version)
            before = unit.line_settings
            refused_at = before.refused_at if waits and before is not None else self._clock()
            report = LineSettingsReport(self._clock(), wanted.version, left, None, error, refused_at)
            self._note(unit, found, report, not changed)

    def _was_refused(self, unit: Unit, version: int) -> bool:
        """Whether Evolution has refused this proxy a short while ago."""
        before = unit.line_settings
        if before is None or before.error is None or before.version != version:
            return False
        return self._clock() < before.refused_at + _AGAIN_SECONDS

    async def _differences(self, unit: Unit, wanted: StoredLineSettings, proxy: LineProxy | None) -> tuple[str, ...]:
        name = unit.record.instance
        found: list[str] = []
        if wanted.settings_managed:
            found += setting_differences(wanted.settings, await find_settings(unit.evolution(self._client), name))
        if wanted.proxy_managed and proxy_differs(proxy, await find_proxy(unit.evolution(self._client), name)):
            found.append(PROXY)
        return tuple(found)

    async def _set(
        self, unit: Unit, wanted: StoredLineSettings, proxy: LineProxy | None, found: tuple[str, ...]
    ) -> str | None:
        """Set what differs; returns why the proxy was refused. Settings that no unit has stay as they are."""
        name = unit.record.instance
        if set(found) - {PROXY}:
            kept = await find_settings(unit.evolution(self._client), name) or {}
            body = {"readStatus": kept.get("readStatus") is True, **wanted.settings.for_evolution()}
            await set_settings(unit.evolution(self._client), name, body)
        if PROXY in found:
            try:
                values = proxy.for_evolution() if proxy is not None else NO_PROXY
                await set_proxy(unit.evolution(self._client), name, values, _PROXY_SECONDS)
            except InvalidRequest:
                return PROXY_REFUSED
        return None

    def _note(self, unit: Unit, found: tuple[str, ...], report: LineSettingsReport, new: bool) -> None:
        before, left, error = unit.line_settings, report.differences, report.error
        restored = found and not left and not new
        restored_at = report.checked_at if restored else (before.restored_at if before is not None else None)
        unit.line_settings = replace(report, restored_at=restored_at)
        what, id = ", ".join(found), str(unit.id)
        if not found or (new and not left):
            return
        if not left:
            self._counters.add("line_settings_restored")
            _LOG.warning("Somebody changed a line's settings ({what}); they are set again", what=what, unit=id)
        elif before is None or (before.differences, before.error) != (left, error):
            self._counters.add("line_settings_changed" if error is None else "line_settings_refused")
            text = "A line's settings are not as wanted ({what})"
            _LOG.warning(text, what=", ".join(left), unit=id, reason=error or "left so, as the unit says")

    def _proxy(self, unit: UnitId, wanted: StoredLineSettings) -> LineProxy | None:
        if wanted.sealed_proxy is None:
            return None
        opened = self._sealer.unseal(unit, _SEALED_AS, wanted.sealed_proxy)
        if opened is None:
            raise UnreadableProxy("the line's proxy was encrypted under another master key; set it again")
        return msgspec.json.decode(opened, type=LineProxy)
