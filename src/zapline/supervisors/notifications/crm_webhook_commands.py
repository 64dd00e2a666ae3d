"""Manages the webhooks to CRMs (hooks): creates, tests, enables and deletes them, rotates keys, replays deliveries."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import structlog

from zapline.domain.crm_webhook_signature import format_secret
from zapline.domain.crm_webhooks import checked_headers
from zapline.domain.errors import InvalidField, LocalError
from zapline.domain.ids import UnitId
from zapline.domain.network_addresses import InvalidMediaUrl, parse_media_url, refusal_reason
from zapline.domain.text import Sentence
from zapline.sql.accounts import organizations
from zapline.sql.accounts.ceilings import load_ceilings
from zapline.sql.notifications import crm_webhooks, event_replay
from zapline.sql.notifications.crm_webhooks import (
    Hook,
    HookOwner,
    NewHook,
    OrganizationOwner,
)
from zapline.sql.notifications.event_replay import EventRange, ReplayedEvents
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.notifications.hook_headers import HeaderSealer

MAX_HOOKS = 10
"""Of one unit, and of one organization."""
KEY_GRACE = 24 * 3600.0
"""Seconds for which deliveries are also signed with the previous key: time to deploy the CRM."""
MAX_REPLAYED = 10_000
"""In one call; call again for the rest."""
MAX_REPLAYED_EVENTS = 5000
"""Of a range of time, in one call."""
REPLAY_PAUSE = 0.1
"""Seconds between two events of a range: what happens meanwhile is delivered between them."""
_LOG = structlog.get_logger(scope="Hooks")


class UnknownHook(LocalError):
    """The unit or the organization has no such hook."""


class HooksAboveCeiling(LocalError):
    """The unit or the organization has as many hooks as the operator lets its tokens make."""


class HookOwnerGone(UnknownHook):
    """The unit or the organization is gone, or the unit has left the organization whose token asks."""


class UnknownDelivery(LocalError):
    """The hook has no such delivery."""


class InvalidHookUrl(LocalError):
    """Deliveries to this URL are not allowed; the text says why."""


class TooManyHooks(LocalError):
    """The unit or the organization has as many hooks as it may."""


class HookDisabled(LocalError):
    """The hook is disabled; enable it first."""


class HookWithoutUnits(LocalError):
    """The organization's hook is told of no unit yet."""


class HookUnitElsewhere(InvalidField):
    """The hook is to be told of a unit that its maker does not see in the organization."""


class DeliveryPending(LocalError):
    """The delivery has not ended yet."""


@dataclass(frozen=True, slots=True)
class AskedHook:
    """A hook as somebody asks for it. ``units``: of an organization's; None: all that the caller's token opens.

    ``made_by``: of a unit's, the organization whose token asks. ``for_tenant``: a token of units asks.
    """

    url: str
    events: Sequence[str]
    units: Sequence[UnitId] | None = None
    headers: Mapping[str, str] | None = None
    made_by: UUID | None = None
    for_tenant: bool = False


class CrmWebhooks:
    """One for the process; ``pool`` is the engine's. ``find`` returns the active unit or raises UnknownUnit.

    An owner is a unit or an organization.

    ``on_change`` is called with a changed hook, ``key_of`` derives a hook's key by its generation. ``private``: URLs
    may lead into private networks, and need no TLS.
    """

    def __init__(
        self,
        pool: Pool,
        find: Callable[[UnitId], object],
        key_of: Callable[[UUID, int], bytes],
        sealer: HeaderSealer,
        on_change: Callable[[UUID | None], None] = lambda hook: None,
        *,
        private: bool = False,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._pool = pool
        self._find = find
        self._key_of = key_of
        self._sealer = sealer
        self._on_change = on_change
        self._private = private
        self._clock = clock
        self._new_id = new_id

    async def create(self, owner: HookOwner, asked: AskedHook) -> tuple[Hook, str]:
        """Create a hook; return it and its new secret.

        Raises UnknownUnit, InvalidHookUrl, InvalidHeader, HookUnitElsewhere, HookOwnerGone, TooManyHooks,
        HooksAboveCeiling.
        """
        self._check_owner(owner)
        url, id = self._check_url(asked.url), self._new_id()
        headers = self._sealer.seal(id, checked_headers(asked.headers or {}))
        new = NewHook(id, url, sorted(set(asked.events)), _units_of(owner, asked.units), headers, asked.made_by)
        async with self._pool.connection() as conn, conn.transaction():
            await _hold(conn, owner, asked)
            most = (await load_ceilings(conn)).most_hooks(MAX_HOOKS) if asked.for_tenant else MAX_HOOKS
            if not await crm_webhooks.insert_hook(conn, owner, new, most):
                if most < MAX_HOOKS:
                    what = Sentence("the operator lets tokens make hooks until there are {limit}", limit=most)
                    raise HooksAboveCeiling(what)
                raise TooManyHooks(Sentence("there are at most {limit} hooks", limit=MAX_HOOKS))
            hook = await crm_webhooks.find_hook(conn, owner, id)
        assert hook is not None
        _LOG.info(
            "A hook is made", hook=str(id), unit=str(hook.unit_id or ""), organization=str(hook.organization_id or "")
        )
        self._on_change(id)
        return hook, format_secret(self._key_of(id, 1))

    async def delete(self, owner: HookOwner, id: UUID) -> None:
        """Delete a hook with all its deliveries. Raises UnknownUnit, UnknownHook."""
        self._check_owner(owner)
        async with self._pool.connection() as conn:
            if not await crm_webhooks.delete_hook(conn, owner, id):
                raise UnknownHook("there is no such hook here")
        self._on_change(id)

    async def rotate_key(self, owner: HookOwner, id: UUID) -> tuple[Hook, str]:
        """Make a new secret; the old one signs too for ``KEY_GRACE``. Raises UnknownUnit, UnknownHook."""
        self._check_owner(owner)
        async with self._pool.connection() as conn:
            generation = await crm_webhooks.rotate_key(conn, owner, id, self._clock() + KEY_GRACE)
            hook = await crm_webhooks.find_hook(conn, owner, id)
        if generation is None or hook is None:
            raise UnknownHook("there is no such hook here")
        self._on_change(id)
        return hook, format_secret(self._key_of(id, generation))

    async def enable(self, owner: HookOwner, id: UUID) -> Hook:
        """Enable a hook that was disabled because it failed. Raises UnknownUnit, UnknownHook.

        Raises HookDisabled where the unit has left the organization that made the hook.
        """
        self._check_owner(owner)
        async with self._pool.connection() as conn:
            await crm_webhooks.enable_hook(conn, owner, id)
            hook = await crm_webhooks.find_hook(conn, owner, id)
        if hook is None:
            raise UnknownHook("there is no such hook here")
        if hook.disabled_at is not None:
            raise HookDisabled("the unit has left the organization that made this hook; make another one")
        self._on_change(id)
        return hook

    async def send_test(self, owner: HookOwner, id: UUID) -> UUID:
        """Queue a ``hook.test``; return the delivery's id. Raises UnknownUnit, UnknownHook, HookDisabled."""
        self._check_owner(owner)
        async with self._pool.connection() as conn:
            hook = _require_enabled(await crm_webhooks.find_hook(conn, owner, id))
            delivery = await crm_webhooks.insert_test_delivery(conn, owner, id)
        if delivery is None and hook.organization_id is not None:
            raise HookWithoutUnits("the organization has no unit yet of which the hook is told")
        if delivery is None:
            raise UnknownHook("the hook is gone just now")
        self._on_change(id)
        return delivery

    async def replay(self, owner: HookOwner, hook: UUID, id: UUID) -> None:
        """Repeat an ended delivery. Raises UnknownHook, UnknownDelivery, HookDisabled, DeliveryPending, UnknownUnit."""
        self._check_owner(owner)
        async with self._pool.connection() as conn:
            _require_enabled(await crm_webhooks.find_hook(conn, owner, hook))
            if not await crm_webhooks.replay_delivery(conn, owner, hook, id):
                if await crm_webhooks.has_delivery(conn, owner, hook, id):
                    raise DeliveryPending("this delivery has not ended yet")
                raise UnknownDelivery("the hook has no such delivery")
        self._on_change(hook)

    async def replay_dead(self, owner: HookOwner, hook: UUID, since: float) -> int:
        """Repeat dead deliveries since a time (UTC seconds); return how many. Raises as ``send_test``."""
        self._check_owner(owner)
        async with self._pool.connection() as conn:
            _require_enabled(await crm_webhooks.find_hook(conn, owner, hook))
            count = await crm_webhooks.replay_dead(conn, owner, hook, since, MAX_REPLAYED)
        self._on_change(hook)
        return count

    async def replay_events(self, owner: HookOwner, hook: UUID, wanted: EventRange) -> ReplayedEvents:
        """Deliver the events of a time again, ``REPLAY_PAUSE`` seconds after each other. Raises as ``send_test``."""
        self._check_owner(owner)
        async with self._pool.connection() as conn:
            _require_enabled(await crm_webhooks.find_hook(conn, owner, hook))
            replayed = await event_replay.replay_events(
                conn, owner, hook, wanted, pause=REPLAY_PAUSE, limit=MAX_REPLAYED_EVENTS
            )
        self._on_change(hook)
        return replayed

    def header_names(self, hook: Hook) -> list[str]:
        """The names of the headers that go with each delivery; their values are shown to nobody."""
        return sorted(self._sealer.unseal(hook.id, hook.headers) or {})

    def _check_owner(self, owner: HookOwner) -> None:
        """Raises UnknownUnit; whether an organization is there was looked at by whoever calls."""
        if not isinstance(owner, OrganizationOwner):
            self._find(owner)

    def _check_url(self, url: str) -> str:
        """Return the URL in its normal form. Each delivery checks its addresses. Raises InvalidHookUrl."""
        try:
            parsed = parse_media_url(url, local=self._private)
        except InvalidMediaUrl as invalid:
            raise InvalidHookUrl(invalid.sentence) from None
        if self._private:
            return parsed.url
        if not parsed.url.startswith("https://"):
            raise InvalidHookUrl("The URL must begin with https://: what is told is private.")
        if parsed.is_address and refusal_reason(parsed.host) is not None:
            raise InvalidHookUrl("The URL leads into a private or reserved network.")
        return parsed.url


async def _hold(conn: Connection, owner: HookOwner, asked: AskedHook) -> None:
    """Hold on to the owner until the transaction ends: others who make hooks of it wait, and of the organization whose
    token asks the unit does not leave. Raises HookOwnerGone, HookUnitElsewhere.
    """
    there = await crm_webhooks.lock_owner(conn, owner)
    if isinstance(owner, OrganizationOwner):
        if not there:
            raise HookOwnerGone("the organization is gone")
        if not set(asked.units or ()) <= set(await organizations.list_units(conn, owner.organization)):
            raise HookUnitElsewhere("holds a unit that is not in the organization", "unitIds")
    elif not there:
        raise HookOwnerGone("the unit is gone")
    elif asked.made_by is not None and not await organizations.hold_unit(conn, asked.made_by, owner):
        raise HookOwnerGone("the unit has just left the organization")


def _units_of(owner: HookOwner, asked: Sequence[UnitId] | None) -> Sequence[UnitId] | None:
    """The units of a new hook: at most those that its maker's token opens. Raises HookUnitElsewhere."""
    if not isinstance(owner, OrganizationOwner):
        return None
    chosen = owner.grant.chosen if owner.grant is not None else None
    if asked is None:
        return sorted(chosen) if chosen is not None else None
    if owner.grant is not None and not set(asked) <= owner.grant.units:
        raise HookUnitElsewhere("holds a unit that is not in the organization", "unitIds")
    return sorted(set(asked))


def _require_enabled(hook: Hook | None) -> Hook:
    """Raises UnknownHook, HookDisabled."""
    if hook is None:
        raise UnknownHook("there is no such hook here")
    if hook.disabled_at is not None:
        raise HookDisabled("the hook is disabled; enable it first")
    return hook
