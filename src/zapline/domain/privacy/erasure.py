"""Decides who is erased: a person's names and digits, their keyed digests, and which facts are of before."""

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

ERASED = "erased"
"""Why a fact about an erased person's past is of no use."""
_LID = "lid:"
_LEAST = 7
"""Digits of the shortest phones of the world. Fewer may stand for anything: a price, a year, a status code."""


def number_spellings(canonical: str) -> tuple[str, ...]:
    """The digits under which WhatsApp may name a phone or a LID: with the ninth digit and without."""
    if canonical.startswith(_LID):
        return (canonical.removeprefix(_LID),)
    digits = canonical.removeprefix("+")
    others = []
    if digits.startswith("55") and len(digits) == 13 and digits[4] == "9":
        others.append(digits[:4] + digits[5:])
    elif digits.startswith("549"):
        others.append("54" + digits[3:])
    elif digits.startswith("52") and len(digits) == 12:
        others.append("521" + digits[2:])
    return (digits, *(other for other in others if canonical_phone(other) == canonical))


def searchable_digits(names: Iterable[str], others: Iterable[str] = ()) -> tuple[str, ...]:
    """The digits by which a person of these names may be found in what others say; ``others``: known beside these."""
    every = {spelled for name in names for spelled in number_spellings(name)} | set(others)
    return tuple(sorted(digits for digits in every if digits.isascii() and digits.isdigit() and len(digits) >= _LEAST))


def mention_pattern(digits: Iterable[str]) -> re.Pattern[bytes]:
    """Finds a person in a body: any of the digits, where no other digit touches them. Without digits it finds none."""
    listed = "|".join(sorted(map(re.escape, digits), key=len, reverse=True))
    return re.compile(rf"(?<![0-9])(?:{listed})(?![0-9])".encode() if listed else rb"$.")


def identity_digest(key: bytes, unit: UnitId, canonical: str) -> bytes:
    """What stands for an erased person: HMAC-SHA256, which without the key tells nobody who it was."""
    return hmac.digest(key, unit.bytes + canonical.encode("utf-8", "surrogatepass"), "sha256")


@dataclass(frozen=True, slots=True)
class ErasedPeople:
    """A unit's erased people. ``known``: from digest to the time (UTC seconds) before which nothing is taken in."""

    key: bytes
    unit: UnitId
    known: Mapping[bytes, float]

    def until(self, *names: str | None) -> float | None:
        """Until when somebody of these names is erased; None: nobody is."""
        times = (self.known.get(identity_digest(self.key, self.unit, name)) for name in names if name is not None)
        return max((at for at in times if at is not None), default=None)

    def _has(self, address: Address | None, at: float) -> bool:
        if address is None or address.kind is not AddressKind.PERSON:
            return False
        until = self.until(address.phone, f"{_LID}{address.lid}" if address.lid is not None else None)
        return until is not None and at <= until

    def drops(self, fact: InboundEvent, received_at: float) -> bool:
        """Whether a fact is of an erased person's time before that. ``received_at`` where it tells no time."""
        match fact:
            case MessageArrived():
                at = fact.sent_at if fact.sent_at is not None else received_at
                return self._has(fact.chat, at) or self._has(fact.sender, at)
            case ReactionReported(actor=actor, at_ms=at_ms) | VoteReported(actor=actor, at_ms=at_ms):
                until = self.until(actor)
                return until is not None and (at_ms / 1000 if at_ms else received_at) <= until
            case ContactSeen(address=address):
                # A name without a message is of an address book; who writes anew brings his name along.
                return self._has(address, float("-inf"))
        return False


def drop_erased(
    facts: Sequence[InboundEvent], erased: ErasedPeople | None, received_at: float
) -> Sequence[InboundEvent]:
    """The facts, with ``Ignored`` in the place of those of erased people from before their erasure."""
    if erased is None:
        return facts
    gone = {id(fact) for fact in facts if erased.drops(fact, received_at)}
    if not gone:
        return facts
    messages = {fact.external_id for fact in facts if id(fact) in gone and isinstance(fact, MessageArrived)}
    return [
        Ignored(ERASED)
        if id(fact) in gone or (isinstance(fact, MessageEdited | OptedOut) and fact.external_id in messages)
        else fact
        for fact in facts
    ]
