"""Resolves all JIDs, LIDs and phones that name one contact or chat to one canonical address.

A person has one canonical name, whatever a version of Evolution calls them: the phone when it is known, else the LID.
"""

from enum import StrEnum

import msgspec

from zapline.domain.contacts.jids import LID_SERVER, PHONE_SERVER, parse_jid
from zapline.domain.contacts.phone_numbers import canonical_phone


class AddressKind(StrEnum):
    PERSON = "person"
    GROUP = "group"
    BROADCAST = "broadcast"
    STATUS = "status"
    NEWSLETTER = "newsletter"
    OTHER = "other"
    """A bot, the service account, or an unknown server."""


class Address(msgspec.Struct, frozen=True):
    """A person, group or other party that a chat can be with."""

    kind: AddressKind
    canonical: str
    """``+5511999990001``, ``lid:111222333444555``, ``group:120363...@g.us``: equal means the same chat."""
    phone: str | None = None
    """E.164 with ``+``, in canonical form."""
    lid: str | None = None
    """Digits only."""
    jids: tuple[str, ...] = ()
    """Every JID seen, as WhatsApp wrote its digits, without device part; sorted."""


_OTHER_KINDS = {
    "g.us": AddressKind.GROUP,
    "broadcast": AddressKind.BROADCAST,
    "newsletter": AddressKind.NEWSLETTER,
}
_STATUS = "status@broadcast"


def resolve_address(primary: str | None, *others: str | None) -> Address | None:
    """The address that all JIDs of a body name together; ``None`` if none of them can be parsed.

    ``primary`` decides the kind of chat; the others add a phone to a LID or a LID to a phone. An alias that
    contradicts the earlier ones (another phone, another LID, a group) is left out: two people that were merged
    cannot be separated again.
    """
    phone: str | None = None
    lid: str | None = None
    jids: set[str] = set()
    for raw in (primary, *others):
        parsed = parse_jid(raw) if raw is not None else None
        if parsed is None:
            continue
        user, server = parsed
        if server == PHONE_SERVER:
            canonical = canonical_phone(user)
            if phone is None or phone == canonical:
                phone = canonical
                jids.add(f"{user}@{server}")
        elif server == LID_SERVER:
            if lid is None or lid == user:
                lid = user
                jids.add(f"{user}@{server}")
        elif not jids:
            return _other_address(user, server)
    if not jids:
        return None
    return Address(AddressKind.PERSON, phone if phone is not None else f"lid:{lid}", phone, lid, tuple(sorted(jids)))


def _other_address(user: str, server: str) -> Address:
    jid = f"{user}@{server}"
    if jid == _STATUS:
        return Address(AddressKind.STATUS, "status", jids=(jid,))
    kind = _OTHER_KINDS.get(server, AddressKind.OTHER)
    return Address(kind, f"{kind.value}:{jid}", jids=(jid,))
