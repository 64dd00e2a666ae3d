import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.contacts.addresses import Address, AddressKind, resolve_address
from zapline.domain.contacts.phone_numbers import InvalidPhone, canonical_phone, parse_phone

PHONE, LID = "5511999990001@s.whatsapp.net", "111222333444555@lid"
MARIA = Address(AddressKind.PERSON, "+5511999990001", "+5511999990001", "111222333444555", (LID, PHONE))


@pytest.mark.parametrize(
    ("digits", "canonical"),
    [
        ("551199990001", "+5511999990001"),
        ("551189990001", "+5511989990001"),
        ("551179990001", "+5511979990001"),
        ("551169990001", "+5511969990001"),
        ("551133334444", "+551133334444"),
        ("551123334444", "+551123334444"),
        ("551153334444", "+551153334444"),
        ("5511999990001", "+5511999990001"),
        ("555599990001", "+5555999990001"),
        ("5215512345678", "+525512345678"),
        ("525512345678", "+525512345678"),
        ("5491123456789", "+5491123456789"),
        ("541123456789", "+5491123456789"),
        ("351912345678", "+351912345678"),
        ("12025550123", "+12025550123"),
    ],
)
def test_every_spelling_of_a_number_has_one_canonical_form(digits: str, canonical: str) -> None:
    assert canonical_phone(digits) == canonical
    assert canonical_phone(canonical[1:]) == canonical


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
def test_a_jid_alone_says_who_it_is(jid: str, kind: AddressKind, canonical: str) -> None:
    address = resolve_address(jid)
    assert address is not None
    assert (address.kind, address.canonical) == (kind, canonical)


@pytest.mark.parametrize(
    "garbage",
    [None, "", "@", "x", "5511999990001", "@s.whatsapp.net", "a b@s.whatsapp.net", "٥٥@lid", "x" * 200],
)
def test_garbage_is_nobody(garbage: str | None) -> None:
    assert resolve_address(garbage) is None


def test_phone_and_lid_in_any_order_are_one_person_named_by_the_phone() -> None:
    for jids in itertools.permutations([PHONE, LID, None, "5511999990001:4@s.whatsapp.net"]):
        assert resolve_address(*jids) == MARIA


def test_a_spelling_without_the_ninth_digit_is_kept_as_a_jid() -> None:
    address = resolve_address("551199990001@s.whatsapp.net", PHONE)
    assert address is not None
    assert address.jids == ("551199990001@s.whatsapp.net", PHONE)
    assert address.phone == "+5511999990001"


def test_an_alias_that_contradicts_is_left_out() -> None:
    assert resolve_address(PHONE, LID, "5511999990002@s.whatsapp.net", "999@lid") == MARIA
    assert resolve_address(PHONE, LID, "120363025246125486@g.us") == MARIA


def test_a_group_takes_no_alias() -> None:
    address = resolve_address("120363025246125486@g.us", PHONE)
    assert address is not None
    assert (address.kind, address.phone) == (AddressKind.GROUP, None)


@given(st.lists(st.none() | st.text(max_size=60) | st.from_regex(r"[0-9:_]{0,20}@[a-z.]{0,15}"), max_size=4))
def test_resolving_never_raises_and_is_settled_by_its_own_jids(jids: list[str | None]) -> None:
    address = resolve_address(*jids) if jids else None
    if address is not None and address.kind is AddressKind.PERSON:
        assert address.canonical in (address.phone, f"lid:{address.lid}")
        again = resolve_address(*address.jids)
        assert again == address


@pytest.mark.parametrize(
    "typed",
    [
        "(11) 99999-0001",
        "011 99999-0001",
        "11 9999-0001",
        "+55 11 99999-0001",
        "+55 (11) 9999-0001",
        "5511999990001",
        "551199990001",
        "0055 11 99999 0001",
        "0 15 11 99999-0001",
        "tel:+55-11-99999-0001",
        "whatsapp:+5511999990001",
        "https://wa.me/5511999990001",
        "https://api.whatsapp.com/send?phone=5511999990001",
        "5511999990001:7@s.whatsapp.net",
        " 11.99999.0001 ",
    ],
)
def test_people_write_a_mobile_in_many_ways(typed: str) -> None:
    assert parse_phone(typed) == "+5511999990001"


@pytest.mark.parametrize(
    ("typed", "region", "phone"),
    [
        ("(11) 3333-4444", "BR", "+551133334444"),
        ("351912345678", "BR", "+351912345678"),
        ("12025550123", "BR", "+12025550123"),
        ("912 345 678", "PT", "+351912345678"),
        ("+52 1 55 1234 5678", "BR", "+525512345678"),
        ("+54 11 2345-6789", "BR", "+5491123456789"),
        ("11 15 2345-6789", "AR", "+5491123456789"),
    ],
)
def test_numbers_of_other_kinds_and_countries_are_read_too(typed: str, region: str, phone: str) -> None:
    assert parse_phone(typed, region) == phone


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "   ",
        "abc",
        "123",
        "+",
        "1" * 100,
        "0800-FLORES",
        LID,
        "x@s.whatsapp.net",
        "+55",
        "11 99999-0001 x",
    ],
)
def test_what_is_no_number_is_refused(typed: str) -> None:
    with pytest.raises(InvalidPhone):
        parse_phone(typed)


@given(st.text(max_size=90))
def test_no_input_raises_anything_else(typed: str) -> None:
    try:
        phone = parse_phone(typed)
    except InvalidPhone:
        return
    assert phone[0] == "+"
    assert phone[1:].isdigit()
    assert canonical_phone(phone[1:]) == phone
