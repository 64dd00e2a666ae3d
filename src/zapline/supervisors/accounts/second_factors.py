"""Sets up and checks second factors (one-time codes and recovery codes), and ends what a person has open."""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from uuid import UUID

from zapline.domain.errors import LocalError
from zapline.domain.principals import Role
from zapline.domain.privacy.one_time_codes import SECRET_BYTES, step_of
from zapline.domain.privacy.sealed_credentials import CredentialSealer
from zapline.sql.accounts import second_factors as stored
from zapline.sql.accounts.second_factors import Factor, OpenSession
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.authentication import Authentication, tell_daemons
from zapline.supervisors.units.webhook_authentication import digest_secret

RECOVERY_CODES = 10
_RECOVERY_BYTES = 10
"""80 random bits: they cannot be guessed, so their digest needs no salt."""
_MAX_AGENT = 200


class WrongCode(LocalError):
    """The code is wrong, or was used already."""


class FactorInUse(LocalError):
    """The person has one-time codes already."""


class SecondFactors:
    """One for the process, over the engine's pool. ``clock``: UTC seconds. All methods raise DatabaseUnavailable."""

    def __init__(
        self,
        pool: Pool,
        sealer: CredentialSealer,
        identity: Authentication,
        clock: Callable[[], float] = time.time,
        draw: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._pool = pool
        self._sealer = sealer
        self._identity = identity
        self._clock = clock
        self._draw = draw

    async def factor(self, person: UUID) -> Factor:
        """What is known of a person's second factor; nothing of somebody who is not there."""
        async with self._pool.connection() as conn:
            return await stored.get_factor(conn, person) or Factor(None, False, 0, 0)

    async def start(self, person: UUID) -> None:
        """Draw a new secret, which counts once a code has confirmed it. Raises FactorInUse."""
        sealed = self._sealer.seal(_purpose(person), base64.b64encode(self._draw(SECRET_BYTES)).decode())
        async with self._pool.connection() as conn:
            if not await stored.start_factor(conn, person, sealed):
                raise FactorInUse("one-time codes are set up already")

    async def unconfirmed_secret(self, person: UUID) -> bytes | None:
        """The secret that waits to be confirmed, for its owner; None where none does."""
        factor = await self.factor(person)
        return None if factor.confirmed else self._unseal(person, factor)

    async def confirm(self, person: UUID, code: str) -> list[str]:
        """Take the first code of a new secret; returns the recovery codes, shown only once. Raises WrongCode."""
        factor = await self.factor(person)
        secret = None if factor.confirmed else self._unseal(person, factor)
        step = step_of(secret, code, self._clock(), 0) if secret is not None else None
        if step is None or factor.secret is None:
            raise WrongCode("this code is wrong, or too old")
        codes = [_readable(self._draw(_RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]
        async with self._pool.connection() as conn, conn.transaction():
            if not await stored.confirm_factor(conn, person, factor.secret, step):
                raise WrongCode("this code is wrong, or too old")
            await stored.replace_recovery_codes(conn, person, [_digest(each) for each in codes])
            await tell_daemons(conn)
        self._identity.forget_person(person)
        return codes

    async def check(self, person: UUID, code: str) -> None:
        """Take a one-time code or a recovery code; each is taken once. Raises WrongCode."""
        factor = await self.factor(person)
        secret = self._unseal(person, factor) if factor.confirmed else None
        step = step_of(secret, code, self._clock(), factor.step) if secret is not None else None
        async with self._pool.connection() as conn:
            if step is not None and await stored.take_step(conn, person, step):
                return
            if factor.confirmed and await stored.take_recovery_code(conn, person, _digest(code)):
                return
        raise WrongCode("this code is wrong, or was used already")

    async def remove(self, person: UUID) -> None:
        """Take the one-time codes away, with their recovery codes."""
        async with self._pool.connection() as conn, conn.transaction():
            await stored.remove_factor(conn, person)
            await tell_daemons(conn)
        self._identity.forget_person(person)

    async def required_roles(self) -> frozenset[Role]:
        """The roles of which a second factor is required."""
        async with self._pool.connection() as conn:
            return await stored.required_roles(conn)

    async def require(self, roles: frozenset[Role]) -> None:
        """Require a second factor of these roles: who has none is led to set one up, and comes nowhere else."""
        async with self._pool.connection() as conn, conn.transaction():
            await stored.require(conn, roles)
            await tell_daemons(conn)
        self._identity.invalidate_cache()

    async def note_place(self, token: str, source: str, agent: str) -> None:
        """Store from where a session was opened, for its owner."""
        async with self._pool.connection() as conn:
            shown = "".join(filter(str.isprintable, agent))[:_MAX_AGENT]
            await stored.note_place(conn, digest_secret(token), source, shown)

    async def sessions(self, person: UUID, token: str) -> list[OpenSession]:
        """What a person has open now; ``token``: of the session that asks."""
        async with self._pool.connection() as conn:
            return await stored.list_sessions(conn, person, digest_secret(token))

    async def end_others(self, person: UUID, token: str) -> int:
        """End everything that a person has open but this session; returns how many."""
        async with self._pool.connection() as conn, conn.transaction():
            ended = await stored.end_other_sessions(conn, person, digest_secret(token))
            await tell_daemons(conn)
        self._identity.forget_person(person)
        return ended

    def _unseal(self, person: UUID, factor: Factor) -> bytes | None:
        text = self._sealer.unseal(_purpose(person), factor.secret) if factor.secret is not None else None
        return base64.b64decode(text) if text is not None else None


def _purpose(person: UUID) -> str:
    return f"one-time codes {person}"


def _readable(drawn: bytes) -> str:
    text = base64.b32encode(drawn).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _digest(code: str) -> bytes:
    plain = code.lower().replace("-", "").replace(" ", "")
    return hashlib.sha256(plain.encode("utf-8", "replace")).digest()
