"""Decides who an address is: E.164, the Brazilian ninth digit, and the JIDs and LIDs that mean one contact.

A person has one canonical name, whatever a version of Evolution calls them: the phone when it is known,
else the LID. The forms of JIDs per version are in the contract, section 2.
"""

import re
from collections.abc import Iterator
from enum import StrEnum

import msgspec
import phonenumbers

from zapline.domain.errors import LocalError


class InvalidPhone(LocalError):
    """What a person typed is not a phone number; the text says what is wrong with it."""


class AddressKind(StrEnum):
    PERSON = "person"
    GROUP = "group"
    BROADCAST = "broadcast"
    STATUS = "status"
    NEWSLETTER = "newsletter"
    OTHER = "other"
    """A bot, the service account, or a server that is not known here."""


class Address(msgspec.Struct, frozen=True):
    """Somebody or something that a chat can be with."""

    kind: AddressKind
    canonical: str
    """``+5511999990001``, ``lid:111222333444555``, ``group:120363...@g.us``: equal means the same chat."""
    phone: str | None = None
    """E.164 with ``+``, in canonical form."""
    lid: str | None = None
    """Digits only."""
    jids: tuple[str, ...] = ()
    """Every JID seen, as WhatsApp wrote its digits, without device part; sorted."""


_LONGEST_JID = 128
_PHONE_SERVERS = frozenset({"s.whatsapp.net", "c.us", "hosted"})
"""``c.us`` is the old name; ``hosted`` are the lines that Meta runs for a business."""
_LID_SERVERS = frozenset({"lid", "hosted.lid"})
_OTHER_KINDS = {
    "g.us": AddressKind.GROUP,
    "broadcast": AddressKind.BROADCAST,
    "newsletter": AddressKind.NEWSLETTER,
}
_USER = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")
_SERVER = re.compile(r"[a-z][a-z0-9.-]{0,39}")
_STATUS = "status@broadcast"


def canonical_phone(digits: str) -> str:
    """E.164 digits without ``+`` -> the one form, with ``+``, that all spellings of this number share.

    Brazil: a mobile written without its ninth digit gets it; landlines (2-5) have none. Mexico: the old
    mobile ``1`` goes. Argentina: the mobile ``9`` stays, as WhatsApp writes it. Evolution rewrites all
    three while sending (contract, section 1), so the form that comes back is never the form that was sent.
    """
    length = len(digits)
    if length == 12:
        if digits.startswith("55") and digits[4] in "6789":
            return f"+{digits[:4]}9{digits[4:]}"
        if digits.startswith("54") and digits[2] != "9":
            return f"+549{digits[2:]}"
    elif length == 13 and digits.startswith("521"):
        return f"+52{digits[3:]}"
    return "+" + digits


def resolve(primary: str | None, *others: str | None) -> Address | None:
    """One address from all the JIDs a body gives for it; ``None`` if none of them can be read.

    ``primary`` says what kind of chat it is; the others add a phone to a LID or a LID to a phone. An
    alias that contradicts what is known already (another phone, another LID, a group) is left out: two
    people taken for one cannot be parted again.
    """
    phone: str | None = None
    lid: str | None = None
    jids: set[str] = set()
    for raw in (primary, *others):
        read = _read(raw)
        if read is None:
            continue
        user, server = read
        if server == "s.whatsapp.net":
            spelled = canonical_phone(user)
            if phone is None or phone == spelled:
                phone = spelled
                jids.add(f"{user}@{server}")
        elif server == "lid":
            if lid is None or lid == user:
                lid = user
                jids.add(f"{user}@{server}")
        elif not jids:
            return _other(user, server)
    if not jids:
        return None
    canonical = phone if phone is not None else f"lid:{lid}"
    return Address(AddressKind.PERSON, canonical, phone, lid, tuple(sorted(jids)))


def _other(user: str, server: str) -> Address:
    jid = f"{user}@{server}"
    if jid == _STATUS:
        return Address(AddressKind.STATUS, "status", jids=(jid,))
    kind = _OTHER_KINDS.get(server, AddressKind.OTHER)
    return Address(kind, f"{kind.value}:{jid}", jids=(jid,))


def _read(raw: str | None) -> tuple[str, str] | None:
    """(user, server) with the server's aliases folded and device and agent taken off."""
    if not isinstance(raw, str) or len(raw) > _LONGEST_JID:
        return None
    user, at, server = raw.strip().partition("@")
    if not at:
        return None
    server = server.lower()
    if server in _PHONE_SERVERS:
        user = user.partition(":")[0].partition("_")[0]
        if not (user.isascii() and user.isdigit()):
            return None
        if 7 <= len(user) <= 15 and user[0] != "0":
            return user, "s.whatsapp.net"
        # WhatsApp's own service account is 0@s.whatsapp.net: an address, but nobody's phone.
        return (user, "service.whatsapp.net") if len(user) <= 20 else None
    if server in _LID_SERVERS:
        user = user.partition(":")[0].partition("_")[0]
        return (user, "lid") if user.isascii() and user.isdigit() and len(user) <= 20 else None
    user = user.partition(":")[0]
    if _USER.fullmatch(user) is None or _SERVER.fullmatch(server) is None:
        return None
    return user, server


# -- what people type ------------------------------------------------------------------------------------

_LONGEST_INPUT = 80
_TYPED = re.compile(r"[\d\s+().\-/\u2010-\u2015\u00a0]+")
_LINK = re.compile(r"(?:https?://)?(?:wa\.me/|api\.whatsapp\.com/send/?\?phone=)\+?(\d+)", re.IGNORECASE)


def parse_phone(text: str, default_region: str = "BR") -> str:
    """A number as people write it -> canonical E.164.

    Takes spaces and punctuation, trunk zeros, ``00`` or ``+`` or nothing before the country, ``tel:`` and
    ``whatsapp:``, ``wa.me`` links and JIDs of phones. A number without a country is one of
    ``default_region`` (ISO 3166, two letters) if it is valid there, else it is read as with a country.

    Raises :class:`InvalidPhone`.
    """
    typed = text.strip()
    if not typed:
        raise InvalidPhone("the phone number is empty")
    if len(typed) > _LONGEST_INPUT:
        raise InvalidPhone("the phone number is too long")
    if "@" in typed:
        address = resolve(typed)
        if address is None or address.phone is None:
            raise InvalidPhone("this address does not name a phone")
        return address.phone
    link = _LINK.match(typed)
    if link is not None:
        typed = "+" + link.group(1)
    for prefix in ("tel:", "whatsapp:"):
        if typed.lower().startswith(prefix):
            typed = typed[len(prefix) :]
    if _TYPED.fullmatch(typed) is None:
        raise InvalidPhone("a phone number holds digits, spaces and + ( ) - . only")
    possible: str | None = None
    for number in _readings(typed, default_region):
        canonical = canonical_phone(f"{number.country_code}{phonenumbers.national_significant_number(number)}")
        settled = phonenumbers.parse(canonical)
        if phonenumbers.is_valid_number(settled):
            return canonical
        if possible is None and phonenumbers.is_possible_number(settled):
            possible = canonical
    if possible is None:
        raise InvalidPhone("this is not a possible phone number; write it with country and area code")
    # The numbering plan here may be older than the number.
    return possible


def _readings(typed: str, region: str) -> Iterator[phonenumbers.PhoneNumber]:
    candidates: list[tuple[str, str | None]] = [(typed, region)]
    digits = re.sub(r"\D", "", typed)
    if "+" not in typed and digits[:1] != "0":
        candidates.append(("+" + digits, None))
    elif "+" not in typed and digits.startswith("00"):
        candidates.insert(0, ("+" + digits[2:], None))
    for candidate, where in candidates:
        try:
            yield phonenumbers.parse(candidate, where)
        except phonenumbers.NumberParseException:
            continue
