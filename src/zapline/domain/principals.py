"""Defines who makes a request (an administrator, or a program with a token of units) and what it may do."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from zapline.domain.ids import UnitId


class ActorKind(StrEnum):
    """What kind of actor stands behind a change, as in ``audit_log.actor_kind``."""

    ADMIN = "admin"
    UNIT_TOKEN = "unit_token"  # noqa: S105 - a kind, no password
    ORGANIZATION_TOKEN = "organization_token"  # noqa: S105 - a kind, no password
    COMMAND = "command"
    """The command line on the server itself."""
    SYSTEM = "system"
    """Zapline itself, without a request."""


class TokenKind(StrEnum):
    """What a token is good for, as in ``access_tokens.kind``."""

    SESSION = "session"
    """The console's cookie, and nothing else."""
    ADMIN = "admin"
    """An administrator's bearer token."""
    UNIT = "unit"
    """A bearer token of one unit."""
    ORGANIZATION = "organization"
    """A bearer token of units of an organization."""


class Scope(StrEnum):
    """What a token of units may."""

    READ = "read"
    SEND = "send"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class OrganizationGrant:
    """What an organization's token opens: the units ``chosen`` for it, so far as they are in the organization.

    ``chosen`` None: all units of the organization, also those that are added later. ``units``: what that comes to now.
    """

    organization: UUID
    chosen: frozenset[UnitId] | None
    units: frozenset[UnitId]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. ``name``: an administrator's e-mail or a token's label.

    ``unit``: of a unit's token, ``grant``: of an organization's.
    """

    kind: ActorKind
    id: UUID
    name: str
    unit: UnitId | None = None
    scopes: frozenset[Scope] = frozenset()
    grant: OrganizationGrant | None = None

    @property
    def is_admin(self) -> bool:
        return self.kind is ActorKind.ADMIN

    def may(self, scope: Scope) -> bool:
        """Whether actions of this scope are allowed, on the units that :meth:`sees` allows."""
        return self.is_admin or scope in self.scopes

    def sees(self, unit: UnitId) -> bool:
        """Whether the unit exists as far as this principal may know."""
        if self.grant is not None:
            return unit in self.grant.units
        return self.is_admin or self.unit == unit

    def belongs_to(self, organization: UUID) -> bool:
        """Whether the organization exists as far as this principal may know."""
        return self.is_admin or (self.grant is not None and self.grant.organization == organization)

    def audit_actor(self, source: str | None) -> "AuditActor":
        """This principal at the address ``source``, for the audit log."""
        return AuditActor(self.kind, self.name, self.id, source)


@dataclass(frozen=True, slots=True)
class AuditActor:
    """Who makes a change, as the audit log records it; ``source``: the network address or the machine."""

    kind: ActorKind
    name: str
    id: UUID | None = None
    source: str | None = None
