import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.contacts.phone_numbers import InvalidPhone, canonical_phone, parse_phone

LID = "111222333444555@lid"


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
def test_many_notations_of_a_mobile_are_accepted(typed: str) -> None:
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
def test_landlines_and_numbers_of_other_countries_are_accepted(typed: str, region: str, phone: str) -> None:
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
def test_input_that_is_not_a_phone_is_refused(typed: str) -> None:
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
