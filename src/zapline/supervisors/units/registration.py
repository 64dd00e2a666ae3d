"""What Evolution is asked to tell of a line, how a registered webhook differs from that, and who is told."""

import structlog

from zapline.domain.line.events import Registered, RegistrationChecked
from zapline.evolution.client.response_parser import RegisteredWebhook, WebhookRegistration
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.server_standing import RegistrationReport
from zapline.supervisors.inbound.unit_state import Unit

WEBHOOK_EVENTS = (
    "QRCODE_UPDATED",
    "CONNECTION_UPDATE",
    "STATUS_INSTANCE",
    "LOGOUT_INSTANCE",
    "REMOVE_INSTANCE",
    "INSTANCE_DELETE",
    "MESSAGES_SET",
    "MESSAGES_UPSERT",
    "MESSAGES_UPDATE",
    "MESSAGES_DELETE",
    "SEND_MESSAGE",
    "SEND_MESSAGE_UPDATE",
    "CONTACTS_UPSERT",
    "CONTACTS_UPDATE",
    "CHATS_SET",
    "GROUPS_UPSERT",
    "GROUP_UPDATE",
    "GROUP_PARTICIPANTS_UPDATE",
    "CALL",
)
"""Only the events that are used: presence and changes of chats alone would double the traffic.

MESSAGES_EDITED is not among them: Evolution waits for that webhook, with all its repetitions, inside the line's own
event queue. While we are away, nothing newer of the line is stored or sent, and what waits is lost when Evolution
ends. Edits come in MESSAGES_UPDATE (from 2.3.7 on), deletions in MESSAGES_DELETE; both without that risk.
"""

_SINCE_2_3 = frozenset({"SEND_MESSAGE_UPDATE", "STATUS_INSTANCE", "INSTANCE_DELETE"})
EVENTS_OF_2_2 = tuple(name for name in WEBHOOK_EVENTS if name not in _SINCE_2_3)
"""What a server before 2.3 takes, which refuses a registration for the sake of one name that it does not know."""

_LOG = structlog.get_logger(scope="Registration")


def differences(registered: RegisteredWebhook | None, wanted: WebhookRegistration) -> tuple[str, ...]:
    """What of a registered webhook is not as wanted: ``missing``, ``enabled``, ``url``, ``headers``, ``events``,
    ``base64``, ``byEvents``; empty if Evolution delivers the wanted events to the wanted address.
    """
    if registered is None:
        return ("missing",)
    found = {
        "enabled": registered.enabled,
        "url": registered.url == wanted.url,
        "headers": dict(registered.headers) == dict(wanted.headers),
        "events": set(registered.events) in (set(wanted.events), set(EVENTS_OF_2_2)),
        "base64": not registered.base64,
        "byEvents": not registered.by_events,
    }
    return tuple(name for name, right in found.items() if not right)


def leads_to_us(registered: RegisteredWebhook | None, wanted: WebhookRegistration) -> bool:
    """Whether only the secret at the end of the address is another: an earlier one of ours."""
    if registered is None:
        return False
    return registered.url.rpartition("/")[0] == wanted.url.rpartition("/")[0]


def note_registration(
    unit: Unit, answer: Registered | RegistrationChecked, wall: float, counters: Counters
) -> float | None:
    """Keep and tell what a check has found; ``wall``: UTC seconds.

    Returns since when webhooks may have been missing, where somebody had changed the webhook and it is set again.
    """
    before, restored = unit.registration, isinstance(answer, RegistrationChecked) and answer.restored
    restored_at = wall if restored else (before.restored_at if before is not None else None)
    unit.registration = RegistrationReport(wall, () if restored else answer.differences, restored_at)
    if not answer.differences:
        return None
    what, id = ", ".join(answer.differences), str(unit.id)
    if restored:
        counters.add("registrations_restored")
        _LOG.warning("Somebody changed a line's webhook ({what}); it is set again", what=what, unit=id)
        return before.checked_at if before is not None else wall
    if before is None or before.differences != answer.differences:
        counters.add("registrations_changed")
        _LOG.warning("Somebody changed a line's webhook ({what}); it is left so, as the unit says", what=what, unit=id)
    return None


def has_confirmed_secret(unit: Unit) -> bool:
    """Whether earlier secrets may end: after their grace period Evolution was seen to use the newest one."""
    record, report = unit.record, unit.registration
    if not record.earlier_digests or report is None or report.differences:
        return False
    return record.previous_until is not None and report.checked_at >= record.previous_until
