"""Says which role each page and form of the console needs, by where it is; by default an administrator's."""

import re
from enum import StrEnum

from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal, Role, Scope

_UNIT = "/console/units/<uuid:unit>"


class Needs(StrEnum):
    """The least that a person needs for a page. On a page of a unit, the role in that unit counts."""

    SIGNED_IN = "signed_in"
    """A session, and nothing else."""
    ATTENDANT = "attendant"
    """Any role; without a unit in the address, in any unit: such a page shows only units in which he has the role."""
    OPERATOR = "operator"
    """The same, operators and administrators."""
    EVERYWHERE = "everywhere"
    """An operator of all units, or an administrator: the page is about the whole installation."""
    ADMIN = "admin"


_RULES: tuple[tuple[str, Needs, Needs], ...] = (
    # A beginning of the address, and who may read there and who may send forms. The first that fits counts.
    (r"/console/(about|session|sign-out|account)\b", Needs.SIGNED_IN, Needs.SIGNED_IN),
    (r"/console/$", Needs.ATTENDANT, Needs.ADMIN),
    (r"/console/(events|uptime\.csv|part/(units|verdict))$", Needs.ATTENDANT, Needs.ADMIN),
    (r"/console/part/(rates|health)$", Needs.EVERYWHERE, Needs.ADMIN),
    (r"/console/(search|where|find)\b", Needs.ATTENDANT, Needs.ATTENDANT),
    (r"/console/(attention/letters|scan|units/several)\b", Needs.OPERATOR, Needs.OPERATOR),
    (r"/console/attention\b", Needs.ATTENDANT, Needs.ATTENDANT),
    (r"/console/health\b", Needs.EVERYWHERE, Needs.EVERYWHERE),
    (r"/console/(people|alarms|ceilings|organizations|(part/)?servers|audit|units/new)\b", Needs.ADMIN, Needs.ADMIN),
    (rf"{_UNIT}(/(part|events|history|uptime\.csv)\b|$)", Needs.ATTENDANT, Needs.ADMIN),
    (rf"{_UNIT}/(conversations|messages|quick-replies)\b", Needs.ATTENDANT, Needs.ATTENDANT),
    (rf"{_UNIT}/attention/letters\b", Needs.OPERATOR, Needs.OPERATOR),
    (rf"{_UNIT}/attention\b", Needs.ATTENDANT, Needs.ATTENDANT),
    (rf"{_UNIT}/campaigns/new\b", Needs.OPERATOR, Needs.OPERATOR),
    (rf"{_UNIT}/campaigns\b", Needs.ATTENDANT, Needs.OPERATOR),
    (rf"{_UNIT}/(qr\.svg|connect|renew|disconnect|pause|resume)$", Needs.OPERATOR, Needs.OPERATOR),
    (rf"{_UNIT}/release(-campaigns)?$", Needs.OPERATOR, Needs.OPERATOR),
    (rf"{_UNIT}/opt-outs\b", Needs.ATTENDANT, Needs.ATTENDANT),
    (rf"{_UNIT}/hooks\b", Needs.OPERATOR, Needs.OPERATOR),
    (rf"{_UNIT}/settings/pace$", Needs.OPERATOR, Needs.OPERATOR),
    (rf"{_UNIT}/settings$", Needs.OPERATOR, Needs.ADMIN),
    (rf"{_UNIT}/files$", Needs.OPERATOR, Needs.OPERATOR),
    (rf"{_UNIT}/line-settings$", Needs.OPERATOR, Needs.OPERATOR),
    (rf"{_UNIT}/line-settings/proxy$", Needs.ADMIN, Needs.ADMIN),
    (rf"{_UNIT}/(tokens|privacy|move|webhook-registration|rotate-secret|archive)\b", Needs.ADMIN, Needs.ADMIN),
)
_COMPILED = [(re.compile(pattern), reading, sending) for pattern, reading, sending in _RULES]


def stated_needs(method: str, path: str) -> Needs | None:
    """What a page with this pattern of an address needs; None where nothing is said of it."""
    for pattern, reading, sending in _COMPILED:
        if pattern.match(path):
            return reading if method == "GET" else sending
    return None


def needs_of(method: str, path: str) -> Needs:
    """The same; what nothing is said of is for administrators."""
    return stated_needs(method, path) or Needs.ADMIN


def fulfils(principal: Principal, needs: Needs, unit: UnitId | None) -> bool:
    """Whether a person has what a page needs, in this unit; None: in any."""
    match needs:
        case Needs.SIGNED_IN:
            return True
        case Needs.ATTENDANT:
            return principal.may(Scope.READ, unit)
        case Needs.OPERATOR:
            return principal.may(Scope.CONTROL, unit)
        case Needs.EVERYWHERE:
            everywhere = principal.roles.everywhere if principal.roles is not None else None
            return principal.is_admin or everywhere is Role.OPERATOR
    return principal.is_admin


def shown_units(principal: Principal, needs: Needs) -> frozenset[UnitId] | None:
    """The units that a page shows a person: of those that he sees, where he has what the page needs. None: all."""
    seen = principal.seen_units
    roles = principal.roles
    if roles is None or needs is not Needs.OPERATOR or roles.everywhere is Role.OPERATOR:
        return seen
    return frozenset(unit for unit in roles.units if principal.may(Scope.CONTROL, unit))
