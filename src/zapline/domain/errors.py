"""The exception tree. Foreign exceptions are translated where they enter, so rooms share only these.

::

    ZaplineError
    +-- LocalError            our own state or input is wrong; trying again does not help
    |   +-- ConfigurationError
    |   +-- StandstillError   another daemon holds the lock, or the schema does not fit
    |   +-- Unfit             what somebody asks for is not acceptable, in one field of it
    +-- RemoteError           something outside failed; the verdict says what follows
        +-- DatabaseUnavailable
        +-- JournalRefused    the disk did not take an entry
        +-- EvolutionFailure  (its own tree in zapline.evolution.client.failures)
"""


class ZaplineError(Exception):
    """Anything that Zapline itself raises on purpose."""


class LocalError(ZaplineError):
    """Our own state or input is wrong."""


class ConfigurationError(LocalError):
    """A setting is missing or wrong; the text names every problem and what to do."""


class MustNotWrite(LocalError):
    """This process must not write: another daemon runs, or the schema is not the expected one."""


class InvalidField(LocalError):
    """What somebody asks for is not acceptable; the text says why. ``field``: where, as the API calls it."""

    def __init__(self, said: str, field: str) -> None:
        super().__init__(said)
        self.field = field


class RemoteError(ZaplineError):
    """Something outside this process failed."""


class DatabaseUnavailable(RemoteError):
    """PostgreSQL cannot be reached, went away, or does not answer in time; trying again may help."""


class JournalRefused(RemoteError):
    """The journal could not make an entry durable (disk full, I/O error)."""
