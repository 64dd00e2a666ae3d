"""Decides what is worth an alarm: lines that were lost, checks that fail, and what only a person can settle."""

from collections.abc import Iterable, Mapping, MutableMapping

from zapline.domain.alarms.incidents import Seen, Trouble
from zapline.domain.ids import UnitId
from zapline.domain.line.state import StoredLineState
from zapline.domain.privacy.masking import mask_text
from zapline.domain.text import clean_text
from zapline.supervisors.health.check_result import HealthCheck, Verdict
from zapline.supervisors.health.line_checks import missing_since
from zapline.supervisors.inbound.unit_state import Unit

LINE, CHECK = "line:", "check:"
"""How the keys of troubles begin; a unit's id or a check's name follows."""
_LINES_CHECK = "linesDown"
"""Each line is a trouble of its own."""
_WARNINGS = frozenset(
    {"database", "serversAway", "uncertainMessages", "campaignsHeld", "deadHookDeliveries", "hooksDisabled"}
)
"""Checks that are worth an alarm already when they warn: they stand for many, or wait for a person."""
_NAME_LENGTH = 80


def line_key(unit: Unit) -> str:
    return f"{LINE}{unit.id}"


def see(
    units: Iterable[Unit],
    elsewhere: Mapping[UnitId, StoredLineState],
    checks: Iterable[HealthCheck],
    first_seen: MutableMapping[str, float],
    now: float,
) -> Seen:
    """What is wrong at ``now`` (UTC seconds). ``first_seen``: since when each failing check fails; kept up to date.

    ``elsewhere``: how the lines stand that are other processes'.
    A line that was never connected is no trouble: somebody is still setting it up.
    """
    troubles: dict[str, Trouble] = {}
    unknown: set[str] = set()
    for unit in units:
        shown = unit.shown
        if shown is None and unit.id in elsewhere:
            shown = unit.server.shown(elsewhere[unit.id])
        if shown is None:
            unknown.add(line_key(unit))
        elif shown.connected_at is not None and (since := missing_since(shown)) is not None:
            key = line_key(unit)
            name = mask_text(clean_text(unit.record.name, _NAME_LENGTH))
            troubles[key] = Trouble(key, min(since, now), name, shown.reason.value)
    failing = {check.name for check in checks if _is_worth(check)}
    for name in [name for name in first_seen if name not in failing]:
        del first_seen[name]
    for name in failing:
        troubles[CHECK + name] = Trouble(CHECK + name, first_seen.setdefault(name, now), name)
    return Seen(troubles, frozenset(unknown))


def _is_worth(check: HealthCheck) -> bool:
    if check.name == _LINES_CHECK:
        return False
    return check.verdict is Verdict.FAIL or (check.verdict is Verdict.WARN and check.name in _WARNINGS)
