import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.contacts.addresses import Address, AddressKind, resolve_address

PHONE, LID = "5511999990001@s.whatsapp.net", "111222333444555@lid"
MARIA = Address(AddressKind.PERSON, "+5511999990001", "+5511999990001", "111222333444555", (LID, PHONE))


@pytest.mark.parametrize(
    ("jid", "kind", "canonical"),
    [
        (PHONE, AddressKind.PERSON, "+5511999990001"),
        ("551199990001@s.whatsapp.net", AddressKind.PERSON, "+5511999990001"),
        ("5511999990001:12@s.whatsapp.net", AddressKind.PERSON, "+5511999990001"),
        ("5511999990001_1:12@s.whatsapp.net", AddressKind.PERSON, "+5511999990001"),
        ("5511999990001@c.us", AddressKind.PERSON, "+5511999990001"),
        ("5511999990001:99@hosted", AddressKind.PERSON, "+5511999990001"),
        (LID, AddressKind.PERSON, "lid:111222333444555"),
        ("111222333444555:3@lid", AddressKind.PERSON, "lid:111222333444555"),
        ("111222333444555:99@hosted.lid", AddressKind.PERSON, "lid:111222333444555"),
        ("120363025246125486@g.us", AddressKind.GROUP, "group:120363025246125486@g.us"),
        ("5511999990000-1609459200@g.us", AddressKind.GROUP, "group:5511999990000-1609459200@g.us"),
        ("status@broadcast", AddressKind.STATUS, "status"),
        ("1609459200@broadcast", AddressKind.BROADCAST, "broadcast:1609459200@broadcast"),
        ("120363111111111111@newsletter", AddressKind.NEWSLETTER, "newsletter:120363111111111111@newsletter"),
        ("867051314767696@bot", AddressKind.OTHER, "other:867051314767696@bot"),
        ("0@s.whatsapp.net", AddressKind.OTHER, "other:0@service.whatsapp.net"),
    ],
)
def test_a_single_jid_has_a_kind_and_a_canonical_address(jid: str, kind: AddressKind, canonical: str) -> None:
    address = resolve_address(jid)
    assert address is not None
    assert (address.kind, address.canonical) == (kind, canonical)


@pytest.mark.parametrize(
    "garbage",
    [None, "", "@", "x", "5511999990001", "@s.whatsapp.net", "a b@s.whatsapp.net", "٥٥@lid", "x" * 200],
)
def test_garbage_has_no_address(garbage: str | None) -> None:
    assert resolve_address(garbage) is None


def test_phone_and_lid_in_any_order_are_one_person_with_the_phone_as_canonical() -> None:
    for jids in itertools.permutations([PHONE, LID, None, "5511999990001:4@s.whatsapp.net"]):
        assert resolve_address(*jids) == MARIA


def test_a_spelling_without_the_ninth_digit_is_kept_as_a_jid() -> None:
    address = resolve_address("551199990001@s.whatsapp.net", PHONE)
    assert address is not None
    assert address.jids == ("551199990001@s.whatsapp.net", PHONE)
    assert address.phone == "+5511999990001"


def test_a_contradicting_alias_is_left_out() -> None:
    assert resolve_address(PHONE, LID, "5511999990002@s.whatsapp.net", "999@lid") == MARIA
    assert resolve_address(PHONE, LID, "120363025246125486@g.us") == MARIA


def test_a_group_gets_no_alias() -> None:
    address = resolve_address("120363025246125486@g.us", PHONE)
    assert address is not None
    assert (address.kind, address.phone) == (AddressKind.GROUP, None)


@given(st.lists(st.none() | st.text(max_size=60) | st.from_regex(r"[0-9:_]{0,20}@[a-z.]{0,15}"), max_size=4))
def test_resolving_never_raises_and_its_jids_resolve_to_the_same_address(jids: list[str | None]) -> None:
    address = resolve_address(*jids) if jids else None
    if address is not None and address.kind is AddressKind.PERSON:
        assert address.canonical in (address.phone, f"lid:{address.lid}")
        again = resolve_address(*address.jids)
        assert again == address
