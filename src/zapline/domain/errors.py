"""Defines the exception tree. Foreign exceptions are translated where they enter, so packages share only these.

::

    ZaplineError
    +-- LocalError            our own state or input is wrong; a retry does not help
    |   +-- ConfigurationError
    |   +-- MustNotWrite      another daemon holds the lock, or the schema does not fit
    |   +-- InvalidField      a field of a request is not acceptable
    +-- RemoteError           something outside this process failed
        +-- DatabaseUnavailable
        |   +-- PositionRefused   it was set back, or a unit is another node's
        +-- JournalRefused    an entry could not be made durable
        +-- EvolutionFailure  (its own tree in zapline.evolution.client.failures)
"""

from collections.abc import Collection, Iterator
from typing import Any
from uuid import UUID


class ZaplineError(Exception):
    """Anything that Zapline itself raises on purpose."""

    @property
    def sentence(self) -> str:
        """The text for people; a :class:`~zapline.domain.text.Sentence` where it holds values."""
        first = self.args[0] if self.args else ""
        return first if isinstance(first, str) else str(self)


class LocalError(ZaplineError):
    """Our own state or input is wrong."""


class ConfigurationError(LocalError):
    """A setting is missing or wrong; the message names every problem and what to do."""


class MustNotWrite(LocalError):
    """This process must not write: another daemon runs, or the schema is not the expected one."""


class TooLateToCall(ZaplineError):
    """Somebody else may have decided on what was to be called; nothing was sent. Shown to nobody."""


class InvalidField(LocalError):
    """A field of a request is not acceptable; the message says why. ``field`` is the API's name of it."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class RemoteError(ZaplineError):
    """Something outside this process failed."""


class DatabaseUnavailable(RemoteError):
    """PostgreSQL cannot be reached, went away, or does not answer in time; trying again may help."""


class PositionRefused(DatabaseUnavailable):
    """The database was set back behind what was stored in it, or a unit is another node's: nothing was stored.

    ``units``: of which nothing may be stored, where the statement tells.
    """

    def __init__(self, text: str, units: Collection[UUID] = ()) -> None:
        super().__init__(text)
        self.units = frozenset(units)


class JournalRefused(RemoteError):
    """The journal could not make an entry durable (disk full, I/O error)."""


def leaf_errors(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    """The errors in a group and in the groups inside it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaf_errors(error)
        else:
            yield error
