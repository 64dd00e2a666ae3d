"""Makes the plan of a failing seed smaller while it still fails: fewer units, messages, deaths and faults."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace

import msgspec

from .plan import CHANCES, Plan


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """The smallest plan that was found to fail, each step smaller than the one before."""
    found = True
    while found:
        found = False
        for smaller in _smaller(plan):
            if fails(smaller):
                plan, found = smaller, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans that lack one thing each, the largest steps first."""
    for name in ("deaths", "windows", "clocks"):
        listed = getattr(plan, name)
        for number in range(len(listed)):
            yield replace(plan, **{name: listed[:number] + listed[number + 1 :]})
    for name in ("set_back", "backup", "history"):
        if getattr(plan, name) is not None:
            yield replace(plan, **{name: None})
    for kind in plan.sends:
        yield replace(plan, sends={name: chance for name, chance in plan.sends.items() if name != kind})
    for name in (*CHANCES, "changes", "decided", "kilobyte"):
        if getattr(plan, name):
            yield replace(plan, **{name: 0.0})
    for name, least in (("campaign", 0), ("outbound", 0), ("inbound", 0), ("noise", 0), ("contacts", 0), ("units", 1)):
        value = getattr(plan, name)
        if value > least:
            yield replace(plan, **{name: max(least, value // 2)})


def differences(plan: Plan, other: Plan) -> str:
    """What of ``plan`` differs from the other one, as JSON."""
    mine, others = asdict(plan), asdict(other)
    return msgspec.json.encode({name: mine[name] for name in mine if mine[name] != others[name]}).decode()


def changed(plan: Plan, given: str) -> Plan:
    """The plan with what the JSON says. Raises ``msgspec.ValidationError``."""
    values = msgspec.to_builtins(plan) | (msgspec.json.decode(given) if given else {})
    unknown = values.keys() - {field.name for field in fields(Plan)}
    if unknown:
        raise msgspec.ValidationError(f"a plan has no {', '.join(sorted(unknown))}")
    return msgspec.convert(values, Plan)
