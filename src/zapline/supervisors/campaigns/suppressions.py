"""Keeps campaigns from contacts on a person's request, and lets them reach a contact again."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from zapline.domain.campaigns.recipient_checks import parse_recipient_phone
from zapline.domain.contacts.phone_numbers import InvalidPhone
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.sql.campaigns import opt_outs
from zapline.sql.postgres.pool import Pool
from zapline.sql.privacy.erasure import delete_earlier_opt_out


class UnknownSuppression(LocalError):
    """The contact is not suppressed."""


@dataclass(eq=False, repr=False)
class Suppressions:
    """``find`` returns the active unit or raises UnknownUnit; ``region``: country of phones without one."""

    _pool: Pool
    _find: Callable[[UnitId], object]
    _region: str = "BR"
    _clock: Callable[[], float] = time.time
    _erasure_key: bytes = b""

    async def add(self, unit: UnitId, contact: str) -> tuple[str, bool]:
        """Suppress a phone or a LID (``lid:`` and digits); return its canonical name, and whether it is new.

        Raises UnknownUnit, InvalidPhone.
        """
        self._find(unit)
        canonical = self._canonical(contact)
        async with self._pool.connection() as conn, conn.transaction():
            return canonical, await opt_outs.insert_suppression(conn, unit, canonical, self._clock())

    async def remove(self, unit: UnitId, contact: str) -> None:
        """Let campaigns reach a contact again. Raises UnknownUnit, InvalidPhone, UnknownSuppression."""
        self._find(unit)
        canonical = self._canonical(contact)
        async with self._pool.connection() as conn:
            erased = await delete_earlier_opt_out(conn, self._erasure_key, unit, canonical)
            if not await opt_outs.delete_suppression(conn, unit, canonical) and not erased:
                raise UnknownSuppression("campaigns were not kept from this contact")

    def _canonical(self, contact: str) -> str:
        lid = contact.strip().lower().removeprefix("lid:")
        if lid != contact.strip().lower() and lid.isascii() and lid.isdigit() and len(lid) <= 20:
            return f"lid:{lid}"
        phone = parse_recipient_phone(contact, self._region)
        if phone is None:
            raise InvalidPhone("this is neither a phone number nor a LID; write it with country and area code")
        return phone
