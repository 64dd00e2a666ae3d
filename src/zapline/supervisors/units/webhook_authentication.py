"""Decides whether a webhook is authentic: instance, provider and secret must belong to one unit."""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from enum import StrEnum

from zapline.domain.ids import PROVIDER
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.inbound.unit_state import Unit


class Refusal(StrEnum):
    """Why a webhook is not accepted."""

    PROVIDER = "unknown_provider"
    INSTANCE = "unknown_instance"
    SECRET = "wrong_secret"  # noqa: S105 - a word, not a secret
    MISMATCH = "secret_of_another_instance"
    ARCHIVED = "archived"


def digest_secret(secret: str) -> bytes:
    """The digest stored for a webhook secret or token; the secret is 256 random bits, so it needs no salt."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class WebhookAuthentication:
    """The secrets and instances of all units, in memory; the roster keeps them up to date."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._by_digest: dict[bytes, Unit] = {}
        self._instances: set[str] = set()

    def update(self, units: Iterable[Unit]) -> None:
        """Take over the secrets of these units, and forget all others. Archived ones are known, and refused."""
        known = list(units)
        self._instances = {unit.record.instance for unit in known if unit.record.archived_at is None}
        previous = {unit.record.previous_digest: unit for unit in known if unit.record.previous_digest is not None}
        earlier = {digest: unit for unit in known for digest in unit.record.earlier_digests}
        self._by_digest = earlier | previous | {unit.record.secret_digest: unit for unit in known}

    def by_secret(self, provider: str, secret: str) -> Unit | Refusal:
        """The unit with this secret. The lookup is by digest, so its timing reveals nothing about a near miss."""
        if provider != PROVIDER:
            return Refusal.PROVIDER
        return self._by_digest_at(digest_secret(secret), self._clock())

    def find_owner(self, digest: bytes, instance: str | None, received_at: float) -> Unit | None:
        """The unit of a webhook that was received at this time (UTC seconds); None where it is nobody's."""
        owner = self._by_digest_at(digest, received_at)
        if instance is not None:
            owner = self.match(owner, instance)
        return owner if isinstance(owner, Unit) else None

    def _by_digest_at(self, presented: bytes, at: float) -> Unit | Refusal:
        unit = self._by_digest.get(presented)
        if unit is None or not self._is_valid(unit.record, presented, at):
            return Refusal.SECRET
        return Refusal.ARCHIVED if unit.record.archived_at is not None else unit

    def match(self, owner: Unit | Refusal, instance: str) -> Unit | Refusal:
        """``owner``, as ``by_secret`` returned it, if the instance is that unit's too; else why not."""
        if isinstance(owner, Unit):
            same = hmac.compare_digest(owner.record.instance.encode(), instance.encode("utf-8", "surrogatepass"))
            if same:
                return owner
            return Refusal.MISMATCH if instance in self._instances else Refusal.INSTANCE
        if owner is Refusal.SECRET and instance not in self._instances:
            return Refusal.INSTANCE
        return owner

    @staticmethod
    def _is_valid(record: UnitRecord, presented: bytes, at: float) -> bool:
        if hmac.compare_digest(record.secret_digest, presented):
            return True
        if any(hmac.compare_digest(digest, presented) for digest in record.earlier_digests):
            return True
        previous, until = record.previous_digest, record.previous_until
        in_grace = previous is not None and until is not None and at < until
        return in_grace and hmac.compare_digest(previous or b"", presented)
