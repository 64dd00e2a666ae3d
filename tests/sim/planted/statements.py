"""Takes a condition out of one of the daemon's SQL statements."""

from dataclasses import replace
from types import ModuleType

import pytest


def without(patch: pytest.MonkeyPatch, module: ModuleType, name: str, condition: str, instead: str = "") -> None:
    """Have the statement run without this part of its text, which has to be there."""
    statements = module._SQL._statements
    statement = statements[name]
    assert condition in statement.sql, f"{name} has no longer what this bug takes away"
    patch.setitem(statements, name, replace(statement, sql=statement.sql.replace(condition, instead)))
