"""Who asks: an administrator, or a program that holds a token of one unit; and what he may."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from zapline.domain.ids import UnitId


class ActorKind(StrEnum):
    """What kind of actor stands behind a change, as in ``audit_log.actor_kind``."""

    ADMIN = "admin"
    UNIT_TOKEN = "unit_token"  # noqa: S105 - a kind, no password
    COMMAND = "command"
    """The command line, on the server itself."""
    SYSTEM = "system"
    """Zapline of its own accord."""


class Scope(StrEnum):
    """What a unit's token may."""

    READ = "read"
    SEND = "send"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. ``name``: an administrator's e-mail, or a token's label. ``unit`` None: an administrator."""

    kind: ActorKind
    id: UUID
    name: str
    unit: UnitId | None = None
    scopes: frozenset[Scope] = frozenset()

    def may(self, scope: Scope) -> bool:
        """Whether he may do such things, of the units that he may see at all."""
        return self.unit is None or scope in self.scopes
