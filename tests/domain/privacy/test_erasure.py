"""Who is erased, and which facts are of before."""

from uuid import UUID

import pytest

from zapline.domain.contacts.addresses import Address, resolve_address
from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.inbound_events import Ignored
from zapline.domain.messages.authority import Claim
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.facts import (
    ContactSeen,
    MessageArrived,
    MessageEdited,
    MessageKind,
    OptedOut,
    ReactionReported,
    StatusReported,
)
from zapline.domain.privacy.erasure import (
    ERASED,
    ErasedPeople,
    drop_erased,
    identity_digest,
    mention_pattern,
    number_spellings,
    searchable_digits,
)

UNIT, OTHER_UNIT = UnitId(UUID(int=1)), UnitId(UUID(int=2))
KEY = bytes(32)
PHONE, LID, GROUP = "5511999990001@s.whatsapp.net", "111222333444555@lid", "120363000000000001@g.us"


def address(*jids: str) -> Address:
    address = resolve_address(*jids)
    assert address is not None
    return address


@pytest.mark.parametrize(
    ("canonical", "expected"),
    [
        ("+5511999990001", {"5511999990001", "551199990001"}),
        ("+551133334444", {"551133334444"}),
        ("+525512345678", {"525512345678", "5215512345678"}),
        ("+5491122334455", {"5491122334455", "541122334455"}),
        ("+14155550100", {"14155550100"}),
        ("lid:111222333444555", {"111222333444555"}),
    ],
)
def test_a_number_is_found_under_every_spelling(canonical: str, expected: set[str]) -> None:
    assert set(number_spellings(canonical)) == expected


def test_a_mention_is_not_a_part_of_a_longer_number() -> None:
    pattern = mention_pattern(["551199990001", "5511999990001"])
    for body in (b"5511999990001", b'"551199990001@s.whatsapp.net"', b"@5511999990001 oi", b"\xff+551199990001\xff"):
        assert pattern.search(body)
    for body in (b"15511999990001", b"55119999900012", b"551199990", b"11999990001"):
        assert not pattern.search(body)


def test_a_few_digits_stand_for_nobody() -> None:
    assert searchable_digits(["lid:5", "+551133334444"], ["0", "111222333444555", "a@b"]) == (
        "111222333444555",
        "551133334444",
    )
    none = mention_pattern(searchable_digits(["lid:5"]))
    assert not any(none.search(body) for body in (b"", b"5", b"R$ 5\n", b'{"a":5}'))


def test_facts_of_before_are_dropped_and_those_of_after_and_of_others_stay() -> None:
    known = {
        identity_digest(KEY, UNIT, "+5511999990001"): 1000.0,
        identity_digest(KEY, UNIT, "lid:111222333444555"): 1000.0,
    }
    erased = ErasedPeople(KEY, UNIT, known)

    def message(id: str, at: float | None, *jids: str, sender: str | None = None) -> MessageArrived:
        by = address(sender) if sender is not None else None
        return MessageArrived(ExternalId(id), address(*jids), False, MessageKind.TEXT, "oi", sender=by, sent_at=at)

    old = [
        message("A", 1000.0, PHONE),
        message("B", 999.0, LID),
        message("C", None, "551199990001@s.whatsapp.net"),
        message("D", 5.0, GROUP, sender=LID),
        MessageEdited(ExternalId("A"), "segredo", 0),
        MessageEdited(ExternalId("Y"), "segredo", 1_000_000, Claim(address(PHONE), from_me=False)),
        MessageEdited(ExternalId("Y"), "segredo", 0, Claim(address(GROUP), from_me=False, author=address(LID))),
        OptedOut(address(PHONE), "sair", ExternalId("B")),
        ReactionReported(ExternalId("Z"), "+5511999990001", "x", 999_000),
        ContactSeen(address(LID, PHONE), "Maria"),
    ]
    new = [
        message("E", 1001.0, PHONE),
        message("F", 5.0, "5511888880002@s.whatsapp.net"),
        message("G", 5.0, GROUP),
        MessageEdited(ExternalId("E"), "novo", 1_001_000, Claim(address(PHONE), from_me=False)),
        MessageEdited(ExternalId("Y"), "novo", 0, Claim(address(GROUP), from_me=True)),
        ReactionReported(ExternalId("Z"), "+5511999990001", "x", 1_001_000),
        StatusReported(ExternalId("A"), DeliveryStatus.READ),
        ContactSeen(address("5511888880002@s.whatsapp.net"), "Rui"),
    ]
    assert drop_erased([*old, *new], erased, 500.0) == [*[Ignored(ERASED)] * len(old), *new]
    assert drop_erased(old, None, 500.0) is old
    assert drop_erased(new, erased, 500.0) is new
    assert identity_digest(KEY, UNIT, "+5511999990001") != identity_digest(KEY, OTHER_UNIT, "+5511999990001")
