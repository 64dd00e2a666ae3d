from contextlib import suppress

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
        ("541123456789", "+541123456789"),
        ("543514123456", "+543514123456"),
        ("541531234567", "+5491531234567"),
        ("528112345678", "+528112345678"),
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
        "(11) 9 9999-0001",
        "1 1 99999 0001",
        "11/99999-0001",
        "55(11)99999-0001",
        "+55 (011) 99999-0001",
        "\u202a+55 11 99999-0001\u202c",
        "\ufeff11\u00a099999\u20110001",
        "5511999990001.0",
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
        ("+54 11 2345-6789", "BR", "+541123456789"),
        ("+54 9 11 2345-6789", "BR", "+5491123456789"),
        ("11 4321-5678", "AR", "+541143215678"),
        ("0054 11 4321 5678", "BR", "+541143215678"),
        ("+52 81 1234 5678", "BR", "+528112345678"),
        ("55 1234 5678", "MX", "+525512345678"),
        ("34612345678", "BR", "+34612345678"),
        ("4915112345678", "BR", "+4915112345678"),
        ("+919999900012", "BR", "+919999900012"),
        ("0800 123 4567", "BR", "+558001234567"),
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


@pytest.mark.parametrize(
    ("typed", "region"),
    [
        ("99999-0001", "BR"),
        ("9 9999-0001", "BR"),
        ("9999-0001", "BR"),
        ("3333-4444", "BR"),
        ("95552-2243", "BR"),
        ("98123-4567", "BR"),
        ("0 99999-0001", "BR"),
        ("+55 99999-0001", "BR"),
        ("+55 3333-4444", "BR"),
        ("555-0123", "US"),
    ],
)
def test_a_number_without_its_area_code_is_never_one_of_another_country(typed: str, region: str) -> None:
    with pytest.raises(InvalidPhone, match="the area code is missing"):
        parse_phone(typed, region)


@pytest.mark.parametrize(
    "typed",
    [
        "(11) 99999-00012",
        "919999900012",
        "819999900012",
        "499999900012",
        "439999900012",
        "55 11 99999-00012",
        "+55 11 99999-00012",
        "(11) 3333-44445",
        "+54 9 11 2345-67890",
        "55119999900010.0",
    ],
)
def test_a_digit_too_many_is_told(typed: str) -> None:
    with pytest.raises(InvalidPhone, match="a digit too many"):
        parse_phone(typed)


@given(st.from_regex(r"[2-9][0-9]{6,8}", fullmatch=True))
def test_without_area_code_and_plus_no_number_leaves_the_country(digits: str) -> None:
    with suppress(InvalidPhone):
        assert parse_phone(digits).startswith("+55")


@given(
    st.sampled_from([11, 21, 31, 34, 41, 47, 51, 55, 61, 71, 81, 85, 91, 99]),
    st.integers(0, 99_999_999),
    st.integers(0, 9),
)
def test_a_mobile_with_a_digit_too_many_is_never_sent_abroad(area: int, rest: int, extra: int) -> None:
    try:
        phone = parse_phone(f"{area}9{rest:08}{extra}")
    except InvalidPhone:
        return
    assert area == 55  # which is also the country's code
    assert phone.startswith("+55")


@given(st.text(max_size=90))
def test_no_input_raises_anything_else(typed: str) -> None:
    try:
        phone = parse_phone(typed)
    except InvalidPhone:
        return
    assert phone[0] == "+"
    assert phone[1:].isdigit()
    assert canonical_phone(phone[1:]) == phone
