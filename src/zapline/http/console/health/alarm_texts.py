"""Writes what an alarm says to people, in their language: which lines are out, why, and what to do."""

from collections.abc import Sequence

from zapline.domain.alarms.incidents import Incident, Member, NoticeKind
from zapline.domain.line.reasons import EXPLANATIONS, Reason
from zapline.http.console.framework.formatting import duration
from zapline.http.console.framework.translation import N_, _, ngettext, speaking
from zapline.http.console.health.check_explanations import CHECK_EXPLANATIONS
from zapline.supervisors.alarms.channels import AlarmText
from zapline.supervisors.alarms.troubles import CHECK

_NAMED_IN_TITLE = 3
_NAMED_IN_LIST = 10
_NAMED = 30
"""Lines that a text names; a franchise has thousands."""
_TITLES = {
    NoticeKind.ALARM: N_("Alarm: {what}"),
    NoticeKind.UPDATE: N_("Alarm, more: {what}"),
    NoticeKind.REMINDER: N_("Still so: {what}"),
    NoticeKind.ALL_CLEAR: N_("All clear: {what}"),
}


def alarm_text(kind: NoticeKind | None, incident: Incident | None, language: str, at: float) -> AlarmText:
    """What a notice of an incident says, or a test. ``at``: UTC seconds, when it was said first."""
    with speaking(language):
        if kind is None or incident is None:
            return AlarmText(_("Test of the alarms"), _("This is a test: alarms of Zapline arrive here."))
        if kind is NoticeKind.ALL_CLEAR:
            return AlarmText(_title(kind, incident.members), _all_clear(incident, at))
        return AlarmText(_title(kind, incident.wrong), _what_is_wrong(incident, at))


def _title(kind: NoticeKind, members: Sequence[Member]) -> str:
    lines, checks = _parted(members)
    parts = []
    if lines:
        names = _names([member.trouble.name for member in lines])
        parts.append(
            ngettext("{count} line is back ({names})", "{count} lines are back ({names})", len(lines), names=names)
            if kind is NoticeKind.ALL_CLEAR
            else ngettext("{count} line is out ({names})", "{count} lines are out ({names})", len(lines), names=names)
        )
    parts += [_check_title(member) for member in checks]
    return _(_TITLES[kind], what="; ".join(parts))


def _what_is_wrong(incident: Incident, at: float) -> str:
    lines, checks = _parted(incident.wrong)
    reasons = dict.fromkeys(member.trouble.reason for member in lines)
    texts = [
        _group(_reason(reason), [member for member in lines if member.trouble.reason == reason], at)
        for reason in reasons
    ]
    texts += [_check_text(member, at) for member in checks]
    well = [_member_name(member) for member in incident.members if member.well_since is not None]
    if well:
        texts.append(_("Well again: {names}", names=_names(well, _NAMED)))
    return "\n\n".join(texts)


def _group(reason: str, members: Sequence[Member], at: float) -> str:
    named = [
        _("- {name}, for {lasted}", name=each.trouble.name, lasted=duration(max(0.0, at - each.trouble.since)))
        for each in members[:_NAMED]
    ]
    if len(members) > _NAMED:
        named.append("- " + _more(len(members) - _NAMED))
    return "\n".join([reason, *named])


def _all_clear(incident: Incident, at: float) -> str:
    lasted = [
        _(
            "- {name}, after {lasted}",
            name=_member_name(each),
            lasted=duration(max(0.0, (each.well_since or at) - each.trouble.since)),
        )
        for each in incident.members[:_NAMED]
    ]
    if len(incident.members) > _NAMED:
        lasted.append("- " + _more(len(incident.members) - _NAMED))
    return "\n".join([_("Everything that was told of is well again."), *lasted])


def _parted(members: Sequence[Member]) -> tuple[list[Member], list[Member]]:
    """The lines, and the checks."""
    checks = [member for member in members if member.key.startswith(CHECK)]
    return [member for member in members if not member.key.startswith(CHECK)], checks


def _names(names: Sequence[str], most: int = _NAMED_IN_TITLE) -> str:
    shown = ", ".join(names[:most])
    return f"{shown}, {_more(len(names) - most)}" if len(names) > most else shown


def _more(count: int) -> str:
    return ngettext("and {count} more", "and {count} more", count)


def _reason(reason: str) -> str:
    try:
        explanation = EXPLANATIONS[Reason(reason)]
    except (ValueError, KeyError):
        return _("The line is not connected.")
    return f"{_(explanation.sentence)} {_(explanation.advice)}"


def _check_title(member: Member) -> str:
    explanation = CHECK_EXPLANATIONS.get(member.trouble.name)
    return _(explanation.title) if explanation is not None else member.trouble.name


def _check_text(member: Member, at: float) -> str:
    explanation = CHECK_EXPLANATIONS.get(member.trouble.name)
    lasted = duration(max(0.0, at - member.trouble.since))
    head = _("{name}, for {lasted}", name=_check_title(member), lasted=lasted)
    return head if explanation is None else f"{head}\n{_(explanation.meaning)} {_(explanation.advice)}"


def _member_name(member: Member) -> str:
    return _check_title(member) if member.key.startswith(CHECK) else member.trouble.name


def incident_names(incident: Incident) -> str:
    """What an incident was about, in a line of a list."""
    return _names([_member_name(member) for member in incident.members], _NAMED_IN_LIST)
