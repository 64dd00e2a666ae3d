"""Decides what belongs to an erased person: identities and their keyed digests, digits in texts, earlier facts."""

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from zapline.domain.contacts.addresses import Address, AddressKind
from zapline.domain.contacts.phone_numbers import canonical_phone
from zapline.domain.ids import UnitId
from zapline.domain.inbound_events import Ignored, InboundEvent
from zapline.domain.messages.facts import (
    ContactSeen,
    MessageArrived,
    MessageEdited,
    OptedOut,
    ReactionReported,
    VoteReported,
)
from zapline.domain.messages.message_secrets import EncryptedReport, SecretSeen

ERASED = "erased"
"""The reason under which a fact about an erased person is ignored."""
_LID = "lid:"
_ALONG = (MessageEdited, OptedOut, SecretSeen)
"""Facts that are dropped with the message of the same body."""
_MIN_DIGITS = 7
"""Digits of the shortest phones. Fewer may mean anything: a price, a year, a status code."""


def number_spellings(canonical: str) -> tuple[str, ...]:
    """The digits by which WhatsApp may name a phone (with and without the ninth digit) or a LID."""
    if canonical.startswith(_LID):
        return (canonical.removeprefix(_LID),)
    digits = canonical.removeprefix("+")
    if digits.startswith("549"):
        # Evolution writes an Argentine mobile without its 9 too; nobody has a landline of the same digits.
        return (digits, "54" + digits[3:])
    others = []
    if digits.startswith("55") and len(digits) == 13 and digits[4] == "9":
        others.append(digits[:4] + digits[5:])
    elif digits.startswith("52") and len(digits) == 12:
        others.append("521" + digits[2:])
    return (digits, *(other for other in others if canonical_phone(other) == canonical))


def searchable_digits(identities: Iterable[str], others: Iterable[str] = ()) -> tuple[str, ...]:
    """The digits by which a person may be found in texts of others; ``others`` are further known digits."""
    spellings = {spelling for identity in identities for spelling in number_spellings(identity)} | set(others)
    return tuple(
        sorted(digits for digits in spellings if digits.isascii() and digits.isdigit() and len(digits) >= _MIN_DIGITS)
    )


def mention_pattern(marks: Iterable[str]) -> re.Pattern[bytes]:
    """A pattern that finds any of the digits or ids where no other digit adjoins them. Without any it never matches."""
    alternatives = "|".join(sorted(map(re.escape, marks), key=len, reverse=True))
    return re.compile(rf"(?<![0-9])(?:{alternatives})(?![0-9])".encode() if alternatives else rb"$.")


def identity_digest(key: bytes, unit: UnitId, canonical: str) -> bytes:
    """The HMAC-SHA256 that is stored of an erased person; without the key it does not identify anybody."""
    return hmac.digest(key, unit.bytes + canonical.encode("utf-8", "surrogatepass"), "sha256")


@dataclass(frozen=True, slots=True)
class ErasedPeople:
    """A unit's erased people. ``known``: digest -> time (UTC seconds) up to which their facts are dropped."""

    key: bytes
    unit: UnitId
    known: Mapping[bytes, float]

    def erased_until(self, *identities: str | None) -> float | None:
        """Until when a person with these identities is erased; None: not erased."""
        digests = (identity_digest(self.key, self.unit, identity) for identity in identities if identity is not None)
        return max((self.known[digest] for digest in digests if digest in self.known), default=None)

    def _is_erased(self, address: Address | None, at: float) -> bool:
        if address is None or address.kind is not AddressKind.PERSON:
            return False
        until = self.erased_until(address.phone, f"{_LID}{address.lid}" if address.lid is not None else None)
        return until is not None and at <= until

    def drops(self, fact: InboundEvent, received_at: float) -> bool:
        """Whether a fact is about an erased person before the erasure; ``received_at`` stands for a missing time."""
        match fact:
            case MessageArrived():
                at = fact.sent_at if fact.sent_at is not None else received_at
                return self._is_erased(fact.chat, at) or self._is_erased(fact.sender, at)
            case EncryptedReport():
                at = fact.at_ms / 1000 if fact.at_ms else received_at
                return self._is_erased(fact.chat, at) or self._is_erased(fact.sender, at)
            case MessageEdited(by=by, edited_at_ms=at_ms):
                at = at_ms / 1000 if at_ms else received_at
                return self._is_erased(by.chat, at) or self._is_erased(by.author, at)
            case ReactionReported(actor=actor, at_ms=at_ms) | VoteReported(actor=actor, at_ms=at_ms):
                until = self.erased_until(actor)
                return until is not None and (at_ms / 1000 if at_ms else received_at) <= until
            case ContactSeen(address=address):
                # A name without a message comes from an address book; a person who writes again brings the name along.
                return self._is_erased(address, float("-inf"))
        return False


def drop_erased(
    facts: Sequence[InboundEvent], erased: ErasedPeople | None, received_at: float
) -> Sequence[InboundEvent]:
    """The facts, with ``Ignored`` in place of those about erased people before their erasure."""
    if erased is None:
        return facts
    dropped = {id(fact) for fact in facts if erased.drops(fact, received_at)}
    if not dropped:
        return facts
    messages = {fact.external_id for fact in facts if id(fact) in dropped and isinstance(fact, MessageArrived)}
    return [
        Ignored(ERASED) if id(fact) in dropped or (isinstance(fact, _ALONG) and fact.external_id in messages) else fact
        for fact in facts
    ]
