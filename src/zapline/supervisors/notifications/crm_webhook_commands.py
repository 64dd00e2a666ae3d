"""Accepts what people ask about hooks: make, rotate the key, try, replay, enable, delete."""

import time
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import structlog

from zapline.domain.crm_webhooks import secret
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.network_addresses import InvalidMediaUrl, read_media_url, refusal_of
from zapline.sql.notifications import crm_webhooks
from zapline.sql.notifications.crm_webhooks import Hook
from zapline.sql.postgres.pool import Pool

MOST_HOOKS = 10
"""Of a unit: each is told everything of its own."""
KEY_GRACE = 24 * 3600.0
"""Seconds for which deliveries are signed with the key before too: time for a CRM to be deployed."""
MOST_REPLAYED = 10_000
"""At one time; ask again for the rest."""
_LOG = structlog.get_logger(scope="Hooks")


class UnknownHook(LocalError):
    """The unit has no such hook."""


class UnknownDelivery(LocalError):
    """The hook has no such delivery."""


class InvalidHookUrl(LocalError):
    """Nothing is delivered there; the text says why."""


class TooManyHooks(LocalError):
    """The unit has as many hooks as it may."""


class HookDisabled(LocalError):
    """The hook is not served; enable it first."""


class DeliveryWaits(LocalError):
    """The delivery has not ended yet."""


class Hooks:
    """One for the process; ``pool`` is the engine's. ``find`` gives the active unit or raises UnknownUnit.

    ``changed`` is told what to look at, ``key_of`` derives a hook's key by its generation. ``private``: hooks may
    lead into our own networks, and need no TLS.
    """

    def __init__(
        self,
        pool: Pool,
        find: Callable[[UnitId], object],
        key_of: Callable[[UUID, int], bytes],
        changed: Callable[[UUID | None], None] = lambda hook: None,
        *,
        private: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._find = find
        self._key_of = key_of
        self._changed = changed
        self._private = private
        self._clock = clock

    async def create(self, unit: UnitId, url: str, events: Sequence[str]) -> tuple[Hook, str]:
        """A new hook and its secret, which is shown this once. Raises UnknownUnit, InvalidHookUrl, TooManyHooks."""
        self._find(unit)
        plain, id = self._checked(url), uuid4()
        async with self._pool.connection() as conn:
            if not await crm_webhooks.insert_hook(conn, unit, id, plain, sorted(set(events)), MOST_HOOKS):
                raise TooManyHooks(f"a unit has at most {MOST_HOOKS} hooks")
            made = await crm_webhooks.find_hook(conn, unit, id)
        assert made is not None
        _LOG.info("A hook is made", hook=str(id), unit=str(unit))
        self._changed(id)
        return made, secret(self._key_of(id, 1))

    async def delete(self, unit: UnitId, id: UUID) -> None:
        """The hook goes, with all that waits for it. Raises UnknownUnit, UnknownHook."""
        self._find(unit)
        async with self._pool.connection() as conn:
            if not await crm_webhooks.delete_hook(conn, unit, id):
                raise UnknownHook("the unit has no such hook")
        self._changed(id)

    async def rotate_key(self, unit: UnitId, id: UUID) -> tuple[Hook, str]:
        """A new secret; for ``KEY_GRACE`` deliveries carry the old signature too. Raises UnknownUnit, UnknownHook."""
        self._find(unit)
        async with self._pool.connection() as conn:
            generation = await crm_webhooks.rotate_key(conn, unit, id, self._clock() + KEY_GRACE)
            found = await crm_webhooks.find_hook(conn, unit, id)
        if generation is None or found is None:
            raise UnknownHook("the unit has no such hook")
        self._changed(id)
        return found, secret(self._key_of(id, generation))

    async def enable(self, unit: UnitId, id: UUID) -> Hook:
        """Serve a hook again that was disabled because it failed. Raises UnknownUnit, UnknownHook."""
        self._find(unit)
        async with self._pool.connection() as conn:
            await crm_webhooks.enable(conn, unit, id)
            found = await crm_webhooks.find_hook(conn, unit, id)
        if found is None:
            raise UnknownHook("the unit has no such hook")
        self._changed(id)
        return found

    async def test(self, unit: UnitId, id: UUID) -> UUID:
        """Deliver a ``hook.test``: the delivery's id. Raises UnknownUnit, UnknownHook, HookDisabled."""
        self._find(unit)
        async with self._pool.connection() as conn:
            self._require_served(await crm_webhooks.find_hook(conn, unit, id))
            made = await crm_webhooks.insert_test(conn, unit, id)
        if made is None:
            raise UnknownHook("the hook is gone just now")
        self._changed(id)
        return made

    async def replay(self, unit: UnitId, hook: UUID, id: UUID) -> None:
        """Make a delivery that has ended once more. Raises UnknownUnit, UnknownHook, UnknownDelivery, HookDisabled,
        DeliveryWaits.
        """
        self._find(unit)
        async with self._pool.connection() as conn:
            self._require_served(await crm_webhooks.find_hook(conn, unit, hook))
            if not await crm_webhooks.replay_one(conn, unit, hook, id):
                if await crm_webhooks.has_delivery(conn, unit, hook, id):
                    raise DeliveryWaits("this delivery has not ended yet")
                raise UnknownDelivery("the hook has no such delivery")
        self._changed(hook)

    async def replay_dead(self, unit: UnitId, hook: UUID, since: float) -> int:
        """Make the dead deliveries since a time (UTC seconds) once more: how many, at most ``MOST_REPLAYED``.

        Raises UnknownUnit, UnknownHook, HookDisabled.
        """
        self._find(unit)
        async with self._pool.connection() as conn:
            self._require_served(await crm_webhooks.find_hook(conn, unit, hook))
            count = await crm_webhooks.replay_dead(conn, unit, hook, since, MOST_REPLAYED)
        self._changed(hook)
        return count

    def _checked(self, url: str) -> str:
        """The URL in its plain form. What its name leads to is looked at with every delivery. Raises InvalidHookUrl."""
        try:
            read = read_media_url(url, local=self._private)
        except InvalidMediaUrl as invalid:
            raise InvalidHookUrl(str(invalid)) from None
        if self._private:
            return read.url
        if not read.url.startswith("https://"):
            raise InvalidHookUrl("The URL must begin with https://: what is told is private.")
        if read.is_address and refusal_of(read.host) is not None:
            raise InvalidHookUrl("The URL leads into a private or reserved network.")
        return read.url

    @staticmethod
    def _require_served(found: Hook | None) -> None:
        """Raises UnknownHook, HookDisabled."""
        if found is None:
            raise UnknownHook("the unit has no such hook")
        if found.disabled_at is not None:
            raise HookDisabled("the hook is disabled; enable it first")
