"""Normalises phone numbers to canonical E.164: the Brazilian ninth digit, Mexico, Argentina, input of people."""

import re
from typing import NoReturn

import phonenumbers

from zapline.domain.contacts.jids import PHONE_SERVER, parse_jid
from zapline.domain.errors import LocalError

_LONGEST_INPUT = 80
_INPUT = re.compile(r"[\d\s+().\-/\u2010-\u2015\u00a0]+")
_LINK = re.compile(r"(?:https?://)?(?:wa\.me/|api\.whatsapp\.com/send/?\?phone=)\+?(\d+)", re.IGNORECASE)
_INVISIBLE = dict.fromkeys([0x00AD, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A)])
"""Marks that address books put around a copied number."""
_SPREADSHEET = re.compile(r"(\d{10,15})\.0")
"""A number that a spreadsheet has taken for an amount."""
_SHORTEST_FOREIGN = 10
"""Digits without ``+``: fewer are a number without its area code, never one of another country."""
_CALLED = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)


class InvalidPhone(LocalError):
    """The input is not a phone number; the message says what is wrong with it."""


def canonical_phone(digits: str) -> str:
    """E.164 digits without ``+`` -> the form, with ``+``, that all spellings of this number share.

    Brazil: a mobile without its ninth digit gets it; landlines (2-5) have none. Mexico: the old mobile ``1`` is
    removed. Argentina: the mobile ``9`` stays, as WhatsApp writes it, and a landline gets none. Evolution rewrites all
    three when it sends (contract, section 1), so the number in its reports may differ from the one that was sent to.
    """
    length = len(digits)
    if length == 12:
        if digits.startswith("55") and digits[4] in "6789":
            return f"+{digits[:4]}9{digits[4:]}"
        if digits.startswith("54") and digits[2] != "9" and not _is_valid("+" + digits):
            return f"+549{digits[2:]}"
    elif length == 13 and digits.startswith("521"):
        return f"+52{digits[3:]}"
    return "+" + digits


def parse_phone(text: str, default_region: str = "BR") -> str:
    """A number as people write it -> canonical E.164. Raises :class:`InvalidPhone`.

    Accepts spaces and punctuation, trunk zeros, ``00`` or ``+`` or nothing before the country code, ``tel:`` and
    ``whatsapp:``, ``wa.me`` links and JIDs of phones. A number without ``+`` and ``00`` belongs to ``default_region``
    (ISO 3166, two letters) if it is valid there. It is of another country only if it cannot be a number of that region
    with a mistake: a missing area code and a digit too many are refused in words.
    """
    typed = text.translate(_INVISIBLE).strip()
    if not typed:
        raise InvalidPhone("the phone number is empty")
    if len(typed) > _LONGEST_INPUT:
        raise InvalidPhone("the phone number is too long")
    if "@" in typed:
        user, server = parse_jid(typed) or ("", "")
        if server != PHONE_SERVER:
            raise InvalidPhone("this address does not name a phone")
        return canonical_phone(user)
    typed = _without_wrapping(typed)
    if _INPUT.fullmatch(typed) is None:
        raise InvalidPhone("a phone number holds digits, spaces and + ( ) - . only")
    digits = re.sub(r"\D", "", typed)
    if "+" in typed:
        return _parse_international(digits)
    if digits.startswith("00"):
        return _parse_international(digits[2:])
    return _parse_national(digits, default_region)


def _without_wrapping(typed: str) -> str:
    """The number inside a link, a URI, or a cell of a spreadsheet."""
    link = _LINK.match(typed)
    if link is not None:
        return "+" + link.group(1)
    for prefix in ("tel:", "whatsapp:"):
        if typed.lower().startswith(prefix):
            typed = typed[len(prefix) :]
    amount = _SPREADSHEET.fullmatch(typed)
    return amount.group(1) if amount is not None else typed


def _parse_international(digits: str) -> str:
    """``digits`` begin with a country code. Raises InvalidPhone."""
    canonical = _canonical("+" + digits, None)
    if canonical is None:
        _refuse_impossible()
    if _is_valid(canonical):
        return canonical
    _refuse_mistakes(canonical, "+" + digits[:-1], None)
    if not _is_possible(canonical):
        _refuse_impossible()
    # The library's numbering plan may be older than the number.
    return canonical


def _parse_national(digits: str, region: str) -> str:
    """``digits`` without ``+``: of the region, with or without its country code, or of another country."""
    canonical = _canonical(digits, region)
    if canonical is not None and _is_valid(canonical):
        return canonical
    abroad = _canonical("+" + digits, None) if digits[:1] != "0" else None
    own_code = str(phonenumbers.country_code_for_region(region))
    if abroad is not None and _is_valid(abroad) and abroad.startswith("+" + own_code):
        return abroad
    if canonical is not None:
        _refuse_mistakes(canonical, digits[:-1], region)
    if abroad is not None and _is_valid(abroad) and len(digits) >= _SHORTEST_FOREIGN:
        return abroad
    if canonical is None or not _is_possible(canonical):
        _refuse_impossible()
    return canonical


def _refuse_impossible() -> NoReturn:
    raise InvalidPhone("this is not a possible phone number; write it with country and area code")


def _refuse_mistakes(canonical: str, shortened: str, region: str | None) -> None:
    """Raise InvalidPhone if the number lacks its area code, or is valid (``shortened``) without its last digit."""
    parsed = phonenumbers.parse(canonical)
    reasons = {phonenumbers.is_possible_number_for_type_with_reason(parsed, kind) for kind in _CALLED}
    possible, local = phonenumbers.ValidationResult.IS_POSSIBLE, phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY
    if local in reasons and possible not in reasons:
        raise InvalidPhone("the area code is missing; write it before the number, as (11) 99999-0001")
    if _is_valid(shortened, region):
        raise InvalidPhone("the number has a digit too many; one of another country begins with + and its code")


def _canonical(number: str, region: str | None) -> str | None:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    return canonical_phone(f"{parsed.country_code}{phonenumbers.national_significant_number(parsed)}")


def _is_valid(number: str, region: str | None = None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False


def _is_possible(canonical: str) -> bool:
    """Whether a mobile or a landline of its country has this length."""
    try:
        parsed = phonenumbers.parse(canonical)
    except phonenumbers.NumberParseException:
        return False
    return any(phonenumbers.is_possible_number_for_type(parsed, kind) for kind in _CALLED)


def pairing_number(text: str, default_region: str = "BR") -> str:
    """The digits by which WhatsApp pairs a phone, from a number as people write it. Raises :class:`InvalidPhone`.

    Digits that name their country stay as they are: a Brazilian number may be known to WhatsApp without its ninth
    digit. Others are completed as by :func:`parse_phone`.
    """
    canonical = parse_phone(text, default_region)
    digits = re.sub(r"\D", "", text).removeprefix("00")
    code = str(phonenumbers.parse(canonical).country_code)
    same_end = canonical.endswith(digits[-8:]) and len(digits) >= len(canonical) - 2
    return digits if digits.startswith(code) and same_end else canonical.removeprefix("+")
