"""Decides which troubles are one incident, and when an alarm, an update, a reminder or an all-clear is said of it.

Pure. Times are UTC seconds. An incident gathers what goes wrong within a while; of one incident there is one alarm and
one all-clear, however many lines fall. What is well again counts as well only after it has stayed so, longer each time
it has fallen again, so that a line that comes and goes is no series of alarms.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from uuid import UUID

_MOST_GATHERS = 4
"""Times of ``AlarmPolicy.gather`` after which an alarm is said although more keeps falling."""
_MOST_CALM = 8
"""Times of ``AlarmPolicy.calm`` that something that has fallen often has to stay well."""


class NoticeKind(StrEnum):
    """What is said of an incident."""

    ALARM = "alarm"
    UPDATE = "update"
    """More has fallen since."""
    REMINDER = "reminder"
    ALL_CLEAR = "all_clear"


@dataclass(frozen=True, slots=True)
class AlarmPolicy:
    """Seconds. ``after``: a trouble must last so long. ``gather``: what falls within it is told together.

    ``calm``: so long everything must be well before it is said. ``gap``: between two notices of any incidents.
    ``update``: between two of one incident. ``remind``: until a reminder; infinite: there is none. ``join``: what falls
    so long after an incident's last fall is another incident.
    """

    after: float = 120.0
    gather: float = 30.0
    calm: float = 180.0
    gap: float = 60.0
    update: float = 300.0
    remind: float = 4 * 3600.0
    join: float = 3600.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong since ``since``. ``key`` names it for good, as ``line:`` and a unit's id."""

    key: str
    since: float
    name: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen at one moment. Of the keys in ``unknown`` nothing is known: they are neither wrong nor well."""

    troubles: Mapping[str, Trouble]
    unknown: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A trouble of an incident. ``falls``: how often it began anew. ``told``: it was named to people."""

    trouble: Trouble
    told: bool = False
    well_since: float | None = None
    falls: int = 1

    @property
    def key(self) -> str:
        return self.trouble.key

    def calm(self, policy: AlarmPolicy) -> float:
        """Seconds that it has to stay well."""
        return policy.calm * min(2.0 ** min(self.falls - 1, _MOST_CALM), _MOST_CALM)


@dataclass(frozen=True, slots=True)
class Incident:
    """Troubles that are told together. ``said``: how many notices there were; ``joined_at``: the last new trouble.

    Nothing is told of one whose ``said`` is 0: it is forgotten if all is well before.
    """

    id: UUID
    opened_at: float
    joined_at: float
    members: tuple[Member, ...] = ()
    said: int = 0
    said_at: float = -inf
    closed_at: float | None = None

    @property
    def wrong(self) -> tuple[Member, ...]:
        """The members that are not well."""
        return tuple(member for member in self.members if member.well_since is None)


@dataclass(frozen=True, slots=True)
class Saying:
    """What is to be said: the incident as it is then, of which this is the notice number ``incident.said``."""

    kind: NoticeKind
    incident: Incident


@dataclass(frozen=True, slots=True)
class Step:
    """What has become of the incidents, and what is said; at most one thing at a time."""

    incidents: tuple[Incident, ...]
    saying: Saying | None = None


def step(
    incidents: Sequence[Incident], seen: Seen, now: float, policy: AlarmPolicy, new_id: Callable[[], UUID]
) -> Step:
    """Take up what is seen at ``now``. Nothing changes where the same is seen again at the same time."""
    kept = [_observe(incident, seen, now) for incident in incidents if not _is_over(incident, now, policy)]
    kept = [incident for incident in kept if incident.members]
    kept = _join(kept, seen, now, policy, new_id)
    kept.sort(key=lambda incident: (incident.opened_at, incident.id))
    if now - max((incident.said_at for incident in kept), default=-inf) < policy.gap:
        return Step(tuple(kept))
    for place, incident in enumerate(kept):
        kind = _due(incident, now, policy)
        if kind is not None:
            kept[place] = said = _said(incident, kind, now)
            return Step(tuple(kept), Saying(kind, said))
    return Step(tuple(kept))


def _is_over(incident: Incident, now: float, policy: AlarmPolicy) -> bool:
    """A closed one is remembered for a while: what falls again has fallen before."""
    return incident.closed_at is not None and now - incident.closed_at > policy.join


def _observe(incident: Incident, seen: Seen, now: float) -> Incident:
    if incident.closed_at is not None:
        return incident
    members = (_look(member, seen, now) for member in incident.members)
    return replace(incident, members=tuple(each for each in members if each.told or each.well_since is None))


def _look(member: Member, seen: Seen, now: float) -> Member:
    trouble = seen.troubles.get(member.key)
    if trouble is not None:
        if member.well_since is not None:
            return replace(member, trouble=trouble, well_since=None, falls=member.falls + 1)
        return replace(member, trouble=replace(trouble, since=min(trouble.since, member.trouble.since)))
    if member.key in seen.unknown or member.well_since is not None:
        return member
    return replace(member, well_since=now)


def _join(
    incidents: list[Incident], seen: Seen, now: float, policy: AlarmPolicy, new_id: Callable[[], UUID]
) -> list[Incident]:
    """Put what has been wrong for long enough into the latest incident that still takes it, else into a new one."""
    open_ones = [incident for incident in incidents if incident.closed_at is None]
    held = {member.key for incident in open_ones for member in incident.members}
    lasting = [key for key, each in seen.troubles.items() if key not in held and now - each.since >= policy.after]
    if not lasting:
        return incidents
    fallen = {each.key: each.falls for incident in incidents if incident.closed_at for each in incident.members}
    lasting.sort(key=lambda key: (seen.troubles[key].name, key))
    new = tuple(Member(seen.troubles[key], falls=fallen.get(key, 0) + 1) for key in lasting)
    taking = [incident for incident in open_ones if now - incident.joined_at <= policy.join]
    if not taking:
        return [*incidents, Incident(new_id(), now, now, new)]
    latest = max(taking, key=lambda incident: (incident.joined_at, incident.id))
    joined = replace(latest, joined_at=now, members=(*latest.members, *new))
    return [joined if incident is latest else incident for incident in incidents]


def _due(incident: Incident, now: float, policy: AlarmPolicy) -> NoticeKind | None:
    """What is to be said of an incident now, if anything."""
    if incident.closed_at is not None:
        return None
    waited, wrong = now - incident.joined_at >= policy.gather, incident.wrong
    if not incident.said:
        too_long = now - incident.opened_at >= _MOST_GATHERS * policy.gather
        return NoticeKind.ALARM if wrong and (waited or too_long) else None
    if not wrong:
        calm = all(now - (each.well_since or now) >= each.calm(policy) for each in incident.members)
        return NoticeKind.ALL_CLEAR if calm else None
    since = now - incident.said_at
    if since >= policy.update and waited and any(not each.told for each in wrong):
        return NoticeKind.UPDATE
    return NoticeKind.REMINDER if since >= policy.remind else None


def _said(incident: Incident, kind: NoticeKind, now: float) -> Incident:
    members = tuple(replace(each, told=True) for each in incident.members)
    closed = now if kind is NoticeKind.ALL_CLEAR else None
    return replace(incident, members=members, said=incident.said + 1, said_at=now, closed_at=closed)
