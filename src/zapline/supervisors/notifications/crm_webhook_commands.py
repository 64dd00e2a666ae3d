"""Manages the webhooks to CRMs (hooks): creates, tests, enables and deletes them, rotates keys, replays deliveries."""

import time
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import structlog

from zapline.domain.crm_webhook_signature import format_secret
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.network_addresses import InvalidMediaUrl, parse_media_url, refusal_reason
from zapline.domain.text import Sentence
from zapline.sql.notifications import crm_webhooks
from zapline.sql.notifications.crm_webhooks import Hook
from zapline.sql.postgres.pool import Pool

MAX_HOOKS = 10
"""Of one unit."""
KEY_GRACE = 24 * 3600.0
"""Seconds for which deliveries are also signed with the previous key: time to deploy the CRM."""
MAX_REPLAYED = 10_000
"""In one call; call again for the rest."""
_LOG = structlog.get_logger(scope="Hooks")


class UnknownHook(LocalError):
    """The unit has no such hook."""


class UnknownDelivery(LocalError):
    """The hook has no such delivery."""


class InvalidHookUrl(LocalError):
    """Deliveries to this URL are not allowed; the text says why."""


class TooManyHooks(LocalError):
    """The unit has as many hooks as it may."""


class HookDisabled(LocalError):
    """The hook is disabled; enable it first."""


class DeliveryPending(LocalError):
    """The delivery has not ended yet."""


class CrmWebhooks:
    """One for the process; ``pool`` is the engine's. ``find`` returns the active unit or raises UnknownUnit.

    ``on_change`` is called with a changed hook, ``key_of`` derives a hook's key by its generation. ``private``: URLs
    may lead into private networks, and need no TLS.
    """

    def __init__(
        self,
        pool: Pool,
        find: Callable[[UnitId], object],
        key_of: Callable[[UUID, int], bytes],
        on_change: Callable[[UUID | None], None] = lambda hook: None,
        *,
        private: bool = False,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._pool = pool
        self._find = find
        self._key_of = key_of
        self._on_change = on_change
        self._private = private
        self._clock = clock
        self._new_id = new_id

    async def create(self, unit: UnitId, url: str, events: Sequence[str]) -> tuple[Hook, str]:
        """Create a hook; return it and its new secret. Raises UnknownUnit, InvalidHookUrl, TooManyHooks."""
        self._find(unit)
        checked, id = self._check_url(url), self._new_id()
        async with self._pool.connection() as conn:
            if not await crm_webhooks.insert_hook(conn, unit, id, checked, sorted(set(events)), MAX_HOOKS):
                raise TooManyHooks(Sentence("a unit has at most {limit} hooks", limit=MAX_HOOKS))
            hook = await crm_webhooks.find_hook(conn, unit, id)
        assert hook is not None
        _LOG.info("A hook is made", hook=str(id), unit=str(unit))
        self._on_change(id)
        return hook, format_secret(self._key_of(id, 1))

    async def delete(self, unit: UnitId, id: UUID) -> None:
        """Delete a hook with all its deliveries. Raises UnknownUnit, UnknownHook."""
        self._find(unit)
        async with self._pool.connection() as conn:
            if not await crm_webhooks.delete_hook(conn, unit, id):
                raise UnknownHook("the unit has no such hook")
        self._on_change(id)

    async def rotate_key(self, unit: UnitId, id: UUID) -> tuple[Hook, str]:
        """Make a new secret; the old one signs too for ``KEY_GRACE``. Raises UnknownUnit, UnknownHook."""
        self._find(unit)
        async with self._pool.connection() as conn:
            generation = await crm_webhooks.rotate_key(conn, unit, id, self._clock() + KEY_GRACE)
            hook = await crm_webhooks.find_hook(conn, unit, id)
        if generation is None or hook is None:
            raise UnknownHook("the unit has no such hook")
        self._on_change(id)
        return hook, format_secret(self._key_of(id, generation))

    async def enable(self, unit: UnitId, id: UUID) -> Hook:
        """Enable a hook that was disabled because it failed. Raises UnknownUnit, UnknownHook."""
        self._find(unit)
        async with self._pool.connection() as conn:
            await crm_webhooks.enable_hook(conn, unit, id)
            hook = await crm_webhooks.find_hook(conn, unit, id)
        if hook is None:
            raise UnknownHook("the unit has no such hook")
        self._on_change(id)
        return hook

    async def send_test(self, unit: UnitId, id: UUID) -> UUID:
        """Queue a ``hook.test``; return the delivery's id. Raises UnknownUnit, UnknownHook, HookDisabled."""
        self._find(unit)
        async with self._pool.connection() as conn:
            _require_enabled(await crm_webhooks.find_hook(conn, unit, id))
            delivery = await crm_webhooks.insert_test_delivery(conn, unit, id)
        if delivery is None:
            raise UnknownHook("the hook is gone just now")
        self._on_change(id)
        return delivery

    async def replay(self, unit: UnitId, hook: UUID, id: UUID) -> None:
        """Repeat an ended delivery. Raises UnknownHook, UnknownDelivery, HookDisabled, DeliveryPending, UnknownUnit."""
        self._find(unit)
        async with self._pool.connection() as conn:
            _require_enabled(await crm_webhooks.find_hook(conn, unit, hook))
            if not await crm_webhooks.replay_delivery(conn, unit, hook, id):
                if await crm_webhooks.has_delivery(conn, unit, hook, id):
                    raise DeliveryPending("this delivery has not ended yet")
                raise UnknownDelivery("the hook has no such delivery")
        self._on_change(hook)

    async def replay_dead(self, unit: UnitId, hook: UUID, since: float) -> int:
        """Repeat dead deliveries since a time (UTC seconds); return how many. Raises as ``send_test``."""
        self._find(unit)
        async with self._pool.connection() as conn:
            _require_enabled(await crm_webhooks.find_hook(conn, unit, hook))
            count = await crm_webhooks.replay_dead(conn, unit, hook, since, MAX_REPLAYED)
        self._on_change(hook)
        return count

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


def _require_enabled(hook: Hook | None) -> None:
    """Raises UnknownHook, HookDisabled."""
    if hook is None:
        raise UnknownHook("the unit has no such hook")
    if hook.disabled_at is not None:
        raise HookDisabled("the hook is disabled; enable it first")
