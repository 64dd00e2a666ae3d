"""Translates psycopg's errors into ours, and a SQLSTATE into a verdict about the data."""

from enum import StrEnum

from psycopg import errors

from zapline.domain.errors import DatabaseUnavailable, RemoteError


class Verdict(StrEnum):
    """What follows from a failed statement for its batch (SQLSTATE classes, PostgreSQL manual, appendix A)."""

    POISON = "poison"
    """The data cannot be stored: find the entry and make it a dead letter."""
    MISSING = "missing"
    """A referenced row does not exist (23503): the unit has been deleted."""
    RETRY = "retry"
    """Nothing is wrong with the data: keep the batch and try again."""
    STOP = "stop"
    """Schema, rights or resources: trying again does not help until an operator acts."""


def verdict_of(sqlstate: str) -> Verdict:
    """What may depend on the data is poison: class 54 (a limit of PostgreSQL, such as a key too long for its index),
    what somebody's trigger raises, and mistakes of ours that only certain rows meet (21000: a row named twice).

    STOP: what stands in the server, not in the rows; dropping data for it would be wrong.
    """
    if sqlstate == "23503":
        return Verdict.MISSING
    if sqlstate[:2] in ("40", "08") or sqlstate in ("55P03", "57014") or sqlstate.startswith("57P0"):
        return Verdict.RETRY
    return Verdict.STOP if sqlstate[:2] in _OF_THE_SERVER else Verdict.POISON


_OF_THE_SERVER = ("25", "28", "3D", "3F", "42", "53", "55", "57", "58", "72", "F0", "HV", "XX")
"""Classes of read-only servers, roles, databases, schemas and rights, resources, files, damage."""


UNIQUE_VIOLATION, _DEADLOCK = "23505", "40P01"


def lost_race(sqlstate: str) -> bool:
    """Whether a statement that says what to do about a conflict has met another transaction, and may be repeated.

    Where two insert one row at once, an index that "on conflict" does not name may see it first, and refuses one of
    them. Our statements take their locks in one order, but a CRM's own triggers may not: PostgreSQL ends one of two.
    """
    return sqlstate in (UNIQUE_VIOLATION, _DEADLOCK)


class StatementFailed(RemoteError):
    """PostgreSQL rejected a statement, or it could not be encoded. The text holds no parameter."""

    def __init__(self, sqlstate: str, text: str, constraint: str | None = None) -> None:
        super().__init__(sqlstate, text, constraint)
        self.sqlstate = sqlstate
        self.text = text
        self.constraint = constraint

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.sqlstate)

    def __str__(self) -> str:
        return f"{self.text} (SQLSTATE {self.sqlstate})"


class CommitUnknown(DatabaseUnavailable):
    """The commit was sent and no answer came: the transaction may or may not have been stored."""


# In these classes the server's text contains names and states but no values, and operators need it.
_TEXT_IS_SAFE = ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "55", "57")


def translate(error: Exception) -> DatabaseUnavailable | StatementFailed:
    if isinstance(error, UnicodeEncodeError):
        return StatementFailed("22021", "text holds a lone surrogate")
    assert isinstance(error, errors.Error)
    diag, sqlstate = error.diag, error.sqlstate
    if sqlstate is None:
        if isinstance(error, errors.DataError):
            if "namedtuple" in str(error):  # no value is to blame: see findings
                return StatementFailed("42701", "two columns of a result have one name")
            nul = "NUL" in str(error)
            return StatementFailed("22021" if nul else "22000", "text holds NUL" if nul else "value unusable")
        if isinstance(error, errors.OperationalError | errors.InterfaceError):
            return DatabaseUnavailable(" ".join(str(error).split()))
        return StatementFailed("42000", " ".join(str(error).split()))
    text = type(error).__name__
    if sqlstate[:2] in _TEXT_IS_SAFE:
        text = f"{text}: {diag.message_primary}"
    else:
        names = [diag.table_name, diag.column_name, diag.constraint_name]
        text = " ".join([text, *(name for name in names if name)])
    # A new connection, which prepares the statement again, repairs a stale plan.
    stale = sqlstate == "26000" or diag.source_function == "RevalidateCachedQuery"
    if stale or diag.severity_nonlocalized in ("FATAL", "PANIC") or sqlstate[:2] == "08":
        return DatabaseUnavailable(text)
    return StatementFailed(sqlstate, text, diag.constraint_name)
