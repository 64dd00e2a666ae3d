"""Defines who makes a request (a person with roles, or a program with a token of units) and what it may do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from zapline.domain.ids import UnitId


class ActorKind(StrEnum):
    """What kind of actor stands behind a change, as in ``audit_log.actor_kind``."""

    ADMIN = "admin"
    PERSON = "person"
    """An operator or an attendant."""
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
    SECOND_FACTOR = "second_factor"
    """The cookie of somebody who has given the password and not the second factor yet: it opens nothing else."""
    ADMIN = "admin"
    """A person's bearer token, an administrator's or another's."""
    UNIT = "unit"
    """A bearer token of one unit."""
    ORGANIZATION = "organization"
    """A bearer token of units of an organization."""


class Scope(StrEnum):
    """What a token of units may."""

    READ = "read"
    SEND = "send"
    CONTROL = "control"


class Role(StrEnum):
    """What a person may, everywhere or in one unit; each may what the next one may, too."""

    ADMIN = "admin"
    """Everything. Only everywhere."""
    OPERATOR = "operator"
    """Lines, their settings, campaigns, conversations."""
    ATTENDANT = "attendant"
    """Conversations: reading and sending, no campaigns."""

    @property
    def scopes(self) -> frozenset[Scope]:
        """What it may as tokens may it."""
        return frozenset({Scope.READ, Scope.SEND}) if self is Role.ATTENDANT else frozenset(Scope)


@dataclass(frozen=True, slots=True)
class PersonRoles:
    """The roles of an operator or attendant: one everywhere, or others in some units; the greater one counts."""

    everywhere: Role | None = None
    units: Mapping[UnitId, Role] = field(default_factory=dict)

    def of(self, unit: UnitId | None) -> frozenset[Scope]:
        """What the person may in a unit; None: in any of them."""
        roles = [*([self.everywhere] if self.everywhere is not None else [])]
        roles += [role for id, role in self.units.items() if unit in (None, id)]
        return frozenset().union(*(role.scopes for role in roles))

    @property
    def seen(self) -> frozenset[UnitId] | None:
        """The units that exist for the person; None: all."""
        return None if self.everywhere is not None else frozenset(self.units)


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
    """Who makes a request. ``name``: a person's e-mail or a token's label.

    ``unit``: of a unit's token, ``grant``: of an organization's, ``roles``: of an operator or attendant.
    ``must_enroll``: a person of whom a second factor is required and who has none yet; nothing else is open to him.
    """

    kind: ActorKind
    id: UUID
    name: str
    unit: UnitId | None = None
    scopes: frozenset[Scope] = frozenset()
    grant: OrganizationGrant | None = None
    roles: PersonRoles | None = None
    must_enroll: bool = False

    @property
    def is_admin(self) -> bool:
        return self.kind is ActorKind.ADMIN

    @property
    def is_person(self) -> bool:
        """Whether somebody signs in, and no program of a unit or an organization."""
        return self.kind in (ActorKind.ADMIN, ActorKind.PERSON)

    def may(self, scope: Scope, unit: UnitId | None = None) -> bool:
        """Whether actions of this scope are allowed, on the units that :meth:`sees` allows.

        A person may different things in different units; ``unit`` None: in any of them.
        """
        if self.roles is not None:
            return scope in self.roles.of(unit)
        return self.is_admin or scope in self.scopes

    def sees(self, unit: UnitId) -> bool:
        """Whether the unit exists as far as this principal may know."""
        seen = self.seen_units
        return seen is None or unit in seen

    @property
    def seen_units(self) -> frozenset[UnitId] | None:
        """The units that exist for this principal; None: all."""
        if self.is_admin:
            return None
        if self.roles is not None:
            return self.roles.seen
        if self.grant is not None:
            return self.grant.units
        return frozenset({self.unit} if self.unit is not None else ())

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
