import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.property_examples import examples

from zapline.domain.campaigns.recipient_checks import RecipientCounts, check_recipients, parse_recipient_phone
from zapline.domain.campaigns.recipients_csv import (
    RecipientInput,
)
from zapline.domain.campaigns.text_templates import InvalidTemplate, MessageTemplate, variable_name
from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.outbox.contents import OutgoingMessage, Text


def template(text: str = "Olá {{nome}}") -> MessageTemplate:
    return MessageTemplate.parse(OutgoingMessage(Text(text)))


@settings(max_examples=examples(150))
@given(
    st.from_regex(r"(\+?55)?\(?[1-9][0-9]\)? ?9?[0-9]{4}[- ]?[0-9]{4}", fullmatch=True)
    | st.from_regex(r"'?\+?[0-9]{8,15}", fullmatch=True),
    st.sampled_from(["BR", "PT", "DE"]),
)
def test_the_fast_path_for_phones_agrees_with_the_full_parser(text: str, region: str) -> None:
    try:
        expected: str | None = parse_phone(text.removeprefix("'"), region)
    except InvalidPhone:
        expected = None
    assert parse_recipient_phone(text, region) == expected


def test_each_recipient_is_accepted_or_skipped_for_one_reason() -> None:
    inputs = [
        RecipientInput("(11) 99999-0001", {"nome": "Ana"}),
        RecipientInput("5511999990001", {"nome": "Ana de novo"}),
        RecipientInput("ninguém", {"nome": "Bia"}),
        RecipientInput("+5511999990002", {}),
        RecipientInput("+5511999990002", {"nome": "Caio"}),
        RecipientInput("1199990003", {"nome": "Davi"}),
    ]
    seen: set[str] = set()
    checked = check_recipients(inputs, 7, template(), seen, "BR")
    assert [(row.number, row.recipient, row.reason) for row in checked] == [
        (7, "+5511999990001", None),
        (8, "+5511999990001", "duplicate"),
        (9, "ninguém", "invalid_phone"),
        (10, "+5511999990002", "missing_variable"),
        (11, "+5511999990002", None),
        (12, "+5511999990003", None),
    ]
    assert checked[3].detail == "nome"
    assert (
        check_recipients([RecipientInput("11999990003", {"nome": "E"})], 13, template(), seen, "BR")[0].reason
        == "duplicate"
    )
    counts = RecipientCounts()
    counts.add(checked, template())
    assert (counts.received, counts.accepted, counts.skipped.total()) == (6, 3, 3)
    assert counts.previews[0] == ("****0001", "Olá Ana")
    assert [(row.number, row.recipient) for row in counts.examples] == [
        (8, "****0001"),
        (9, "ninguém"),
        (10, "****0002"),
    ]


def test_a_rendered_text_is_bounded_before_it_is_rendered() -> None:
    long_template = MessageTemplate.parse(OutgoingMessage(Text("{{a}}" * 10_000)))
    checked = check_recipients(
        [RecipientInput("+5511999990001", {"a": "x" * 1000}), RecipientInput("+5511999990002", {"a": "x"})],
        1,
        long_template,
        set(),
        "BR",
    )
    assert [row.reason for row in checked] == ["too_long", None]
    with pytest.raises(InvalidTemplate, match="at most 50"):
        MessageTemplate.parse(OutgoingMessage(Text("".join(f"{{{{v{number}}}}}" for number in range(51)))))
    accents = "a" + "\u0301" * 200_000 + "\u0323" * 200_000
    assert len(variable_name(accents)) <= 256
