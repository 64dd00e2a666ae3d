"""Defines who makes a request (an administrator, or a program with a unit's token) and what it may do."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from zapline.domain.ids import UnitId


class ActorKind(StrEnum):
    """What kind of actor stands behind a change, as in ``audit_log.actor_kind``."""

    ADMIN = "admin"
    UNIT_TOKEN = "unit_token"  # noqa: S105 - a kind, no password
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


class Scope(StrEnum):
    """What a unit's token may."""

    READ = "read"
    SEND = "send"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. ``name``: an administrator's e-mail or a token's label. ``unit`` None: an administrator."""

    kind: ActorKind
    id: UUID
    name: str
    unit: UnitId | None = None
    scopes: frozenset[Scope] = frozenset()

    def may(self, scope: Scope) -> bool:
        """Whether actions of this scope are allowed, on the units that :meth:`sees` allows."""
        return self.unit is None or scope in self.scopes

    def sees(self, unit: UnitId) -> bool:
        """Whether the unit exists as far as this principal may know."""
        return self.unit is None or self.unit == unit

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
