"""Normalises phone numbers to canonical E.164: the Brazilian ninth digit, Mexico, Argentina, input of people."""

import re
from collections.abc import Iterator

import phonenumbers

from zapline.domain.contacts.jids import PHONE_SERVER, parse_jid
from zapline.domain.errors import LocalError

_LONGEST_INPUT = 80
_INPUT = re.compile(r"[\d\s+().\-/\u2010-\u2015\u00a0]+")
_LINK = re.compile(r"(?:https?://)?(?:wa\.me/|api\.whatsapp\.com/send/?\?phone=)\+?(\d+)", re.IGNORECASE)


class InvalidPhone(LocalError):
    """The input is not a phone number; the message says what is wrong with it."""


def canonical_phone(digits: str) -> str:
    """E.164 digits without ``+`` -> the form, with ``+``, that all spellings of this number share.

    Brazil: a mobile without its ninth digit gets it; landlines (2-5) have none. Mexico: the old mobile ``1`` is
    removed. Argentina: the mobile ``9`` stays, as WhatsApp writes it. Evolution rewrites all three when it sends
    (contract, section 1), so the number in its reports may differ from the one that was sent to.
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


def parse_phone(text: str, default_region: str = "BR") -> str:
    """A number as people write it -> canonical E.164. Raises :class:`InvalidPhone`.

    Accepts spaces and punctuation, trunk zeros, ``00`` or ``+`` or nothing before the country code, ``tel:`` and
    ``whatsapp:``, ``wa.me`` links and JIDs of phones. A number without a country code belongs to
    ``default_region`` (ISO 3166, two letters) if it is valid there; else its first digits are the country code.
    """
    typed = text.strip()
    if not typed:
        raise InvalidPhone("the phone number is empty")
    if len(typed) > _LONGEST_INPUT:
        raise InvalidPhone("the phone number is too long")
    if "@" in typed:
        user, server = parse_jid(typed) or ("", "")
        if server != PHONE_SERVER:
            raise InvalidPhone("this address does not name a phone")
        return canonical_phone(user)
    link = _LINK.match(typed)
    if link is not None:
        typed = "+" + link.group(1)
    for prefix in ("tel:", "whatsapp:"):
        if typed.lower().startswith(prefix):
            typed = typed[len(prefix) :]
    if _INPUT.fullmatch(typed) is None:
        raise InvalidPhone("a phone number holds digits, spaces and + ( ) - . only")
    possible: str | None = None
    for number in _candidates(typed, default_region):
        canonical = canonical_phone(f"{number.country_code}{phonenumbers.national_significant_number(number)}")
        parsed = phonenumbers.parse(canonical)
        if phonenumbers.is_valid_number(parsed):
            return canonical
        if possible is None and phonenumbers.is_possible_number(parsed):
            possible = canonical
    if possible is None:
        raise InvalidPhone("this is not a possible phone number; write it with country and area code")
    # The library's numbering plan may be older than the number.
    return possible


def _candidates(typed: str, region: str) -> Iterator[phonenumbers.PhoneNumber]:
    candidates: list[tuple[str, str | None]] = [(typed, region)]
    digits = re.sub(r"\D", "", typed)
    if "+" not in typed and digits[:1] != "0":
        candidates.append(("+" + digits, None))
    elif "+" not in typed and digits.startswith("00"):
        candidates.insert(0, ("+" + digits[2:], None))
    for candidate, candidate_region in candidates:
        try:
            yield phonenumbers.parse(candidate, candidate_region)
        except phonenumbers.NumberParseException:
            continue
