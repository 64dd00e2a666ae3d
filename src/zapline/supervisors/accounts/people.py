"""Invites people, gives them roles, and keeps them out; one administrator always stays."""

from collections.abc import Callable
from uuid import UUID, uuid4

import structlog
import trio

from zapline.domain.errors import InvalidField, LocalError
from zapline.domain.principals import Principal, Role
from zapline.sql.accounts import access_tokens, administrators, invitations
from zapline.sql.accounts.administrators import Admin
from zapline.sql.accounts.invitations import Invitation, Rights
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.authentication import TOKEN_FORM, Authentication, new_token, tell_daemons
from zapline.supervisors.units.webhook_authentication import digest_secret

INVITATION_LASTS = 3 * 86400.0
"""Seconds for which an invitation is good: a weekend."""
_MOST = 500
_MAX_LOOKUPS = 2
"""Queries at a time for codes of invitations: somebody who guesses them must not use up the pool."""
_LOG = structlog.get_logger(scope="Identity")


class UnknownPerson(LocalError):
    """There is no such person."""


class UnknownInvitation(LocalError):
    """There is no such invitation: it was used, withdrawn, or is too old."""


class PersonExists(LocalError):
    """Somebody with this e-mail address may sign in already."""


class LastAdministrator(LocalError):
    """Nobody would be left who may change anything."""


class InvalidPerson(InvalidField):
    """An e-mail address or a choice of rights is not acceptable; the text says why."""


class People:
    """One for the process, over the engine's pool. All methods raise DatabaseUnavailable."""

    def __init__(self, pool: Pool, identity: Authentication, new_id: Callable[[], UUID] = uuid4) -> None:
        self._pool = pool
        self._identity = identity
        self._new_id = new_id
        self._lookups = trio.CapacityLimiter(_MAX_LOOKUPS)

    async def accounts(self) -> list[Admin]:
        """Everybody who has an account, by address."""
        async with self._pool.connection() as conn:
            return await administrators.list_admins(conn)

    async def invitations(self) -> list[Invitation]:
        """Invitations that nobody has used yet, the latest first."""
        async with self._pool.connection() as conn:
            return await invitations.list_open(conn, _MOST)

    async def invite(self, email: str, rights: Rights, inviter: Principal) -> str:
        """Make an invitation; returns the code of its link, which nobody can show again.

        It is good for as long as the inviter is an administrator who may sign in. Raises InvalidPerson, PersonExists.
        """
        email, code = email_address(email), new_token()
        _require_rights(rights)
        async with self._pool.connection() as conn:
            if await administrators.get_admin(conn, email) is not None:
                raise PersonExists("somebody with this e-mail address may sign in already")
            digest = digest_secret(code)
            await invitations.insert_invitation(conn, self._new_id(), digest, email, rights, inviter, INVITATION_LASTS)
        return code

    async def invited(self, code: str) -> Invitation:
        """The invitation of a code that still makes an account. Raises UnknownInvitation."""
        found = None
        if TOKEN_FORM.fullmatch(code):
            async with self._lookups, self._pool.connection() as conn:
                found = await invitations.find_open(conn, digest_secret(code))
        if found is None:
            raise UnknownInvitation("this invitation was used, withdrawn, or is too old; ask for a new one")
        return found

    async def accept(self, code: str, password_hash: str) -> Principal:
        """Make the account of an invitation, once. Raises UnknownInvitation, PersonExists."""
        async with self._pool.connection() as conn, conn.transaction():
            used = await invitations.use_invitation(conn, digest_secret(code))
            if used is None:
                raise UnknownInvitation("this invitation was used, withdrawn, or is too old; ask for a new one")
            role = Role(used.role) if used.role is not None else None
            id = await administrators.add_admin(conn, used.email, password_hash, role)
            if id is None:
                raise PersonExists("somebody with this e-mail address may sign in already")
            await invitations.insert_unit_roles(conn, id, used.units)
            person = await administrators.find_person(conn, id)
        assert person is not None
        _LOG.info("An invitation was accepted", person=str(id))
        return person.principal

    async def withdraw(self, id: UUID) -> str:
        """End an invitation; returns its e-mail address. Raises UnknownInvitation."""
        async with self._pool.connection() as conn:
            email = await invitations.withdraw(conn, id)
        if email is None:
            raise UnknownInvitation("there is no such invitation any more")
        return email

    async def change_rights(self, id: UUID, rights: Rights) -> str:
        """Give a person other rights, at once also where he is signed in; returns his e-mail address.

        Raises InvalidPerson, UnknownPerson, LastAdministrator.
        """
        _require_rights(rights)
        async with self._pool.connection() as conn, conn.transaction():
            if rights.everywhere is not Role.ADMIN and not await administrators.count_other_admins(conn, id):
                raise LastAdministrator("one administrator has to stay")
            email = await administrators.set_role(conn, id, rights.everywhere)
            if email is None:
                raise UnknownPerson("there is no such person")
            await administrators.clear_unit_roles(conn, id)
            for unit, role in rights.units.items():
                await administrators.set_unit_role(conn, id, unit, role)
            await tell_daemons(conn)
        self._identity.forget_person(id)
        return email

    async def set_enabled(self, id: UUID, enabled: bool) -> str:
        """Keep a person out, whose sessions and tokens end, or let him in again; returns his e-mail address.

        Raises UnknownPerson, LastAdministrator.
        """
        async with self._pool.connection() as conn, conn.transaction():
            if not enabled and not await administrators.count_other_admins(conn, id):
                raise LastAdministrator("one administrator has to stay")
            person = await administrators.find_person(conn, id)
            if person is None:
                raise UnknownPerson("there is no such person")
            await administrators.set_enabled(conn, person.email, enabled)
            if not enabled:
                await access_tokens.revoke_all_admin_tokens(conn, id)
            await tell_daemons(conn)
        self._identity.forget_person(id)
        return person.email


def email_address(text: str) -> str:
    """An e-mail address as it is stored. Raises InvalidPerson."""
    email = text.strip().lower()
    wrong = email.count("@") != 1 or email.startswith("@") or email.endswith("@") or len(email) > 254
    if wrong or not email.isprintable() or any(map(str.isspace, email)):
        raise InvalidPerson("is an e-mail address", "email")
    return email


def _require_rights(rights: Rights) -> None:
    if rights.everywhere is None and not rights.units:
        raise InvalidPerson("choose at least one unit, or all of them", "units")
    if rights.everywhere is Role.ADMIN and rights.units:
        raise InvalidPerson("an administrator is one everywhere", "units")
