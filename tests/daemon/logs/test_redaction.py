import secrets
import uuid
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.daemon.logs.redaction import TEXT_LIMIT, Redactor
from zapline.domain.privacy.masking import Plain

TOKEN = "tR4ns1ent-S3cret_0f-A-W3bhook"


class Colour(StrEnum):
    RED = "red"


class Mute:
    def __str__(self) -> str:
        raise ValueError("5511999999999")


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"before {TOKEN} after",
        f"/hook/{TOKEN}/messages-upsert",
        f"joined{TOKEN}joined",
        f"{TOKEN}{TOKEN}",
        f"x={TOKEN}&y",
    ],
)
def test_a_registered_secret_is_replaced_wherever_it_stands(text: str) -> None:
    redactor = Redactor()
    assert redactor.text(text) == text
    redactor.register(TOKEN)
    assert TOKEN not in redactor.text(text)
    assert "[MASKED]" in redactor.text(text)


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("p@ss w0rd", "DSN with p@ss w0rd in it"),
        ("p@ss w0rd", "https://h/?q=p%40ss%20w0rd"),
        ('quo"te', '{"x": "a quo\\"te b"}'),
        ("back\\slash", repr("a back\\slash b")),
        ("short", "a short one"),
    ],
)
def test_secrets_with_special_characters_are_found_in_every_spelling(secret: str, text: str) -> None:
    redactor = Redactor()
    redactor.register(secret)
    assert "[MASKED]" in redactor.text(text)


def test_of_two_secrets_with_one_beginning_the_longer_is_replaced() -> None:
    redactor = Redactor()
    redactor.register("a" * 16)
    redactor.register("a" * 16 + "tail")
    assert redactor.text("a" * 16 + "tail") == "[MASKED]"


def test_too_short_a_secret_does_not_eat_the_lines() -> None:
    redactor = Redactor()
    redactor.register("")
    redactor.register("abc")
    assert redactor.text("abc") == "abc"


@given(st.lists(st.text(min_size=4, max_size=40), min_size=1, max_size=5), st.text(max_size=20), st.data())
def test_no_registered_secret_survives(known: list[str], around: str, data: st.DataObject) -> None:
    redactor = Redactor()
    for secret in known:
        redactor.register(secret)
    secret = data.draw(st.sampled_from(known))
    text = around + secret + around
    if secret not in "[MASKED]" and secret not in around + "[MASKED]" + around:
        assert secret not in redactor.text(text)


def test_thousands_of_secrets_cost_next_to_nothing() -> None:
    redactor = Redactor()
    known = [secrets.token_urlsafe(32) for _ in range(5_000)]
    for secret in known:
        redactor.register(secret)
    assert all(redactor.text(f"POST /x/{secret}") == "POST /x/[MASKED]" for secret in known)


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u2028\u202e\x85", "\\u2028\\u202e\\x85"),
        ("\ud800", "\\ud800"),
        ("Olá 👋", "Olá 👋"),
        (5511999999999, 5511999999999),
        (2**70, str(2**70)),
        (float("nan"), "nan"),
        (1.5, 1.5),
        (True, True),
        (None, None),
        (Colour.RED, "red"),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (Path("/tmp/x"), "/tmp/x"),
        (b"5511999999999 \xff", "****9999 \\xff"),
        (["5511999999999", {"token": 1, "n": "5511999999999"}], ["****9999", {"token": "[MASKED]", "n": "****9999"}]),
        ({"5511999999999@lid": 1}, {"****9999@lid": 1}),
        (ValueError("5511999999999"), "ValueError: ****9999"),
        (Mute(), "<Mute>"),
        (Plain("12345678"), "12345678"),
    ],
)
def test_every_kind_of_value_becomes_masked_json(value: object, output: object) -> None:
    assert Redactor().json_value(value) == output


def test_fields_with_telling_names_show_nothing() -> None:
    output = Redactor().fields({"apikey": ["x"], "token": None, "password": 5, "key": {"a": 1}, "unit": "u"})
    assert output == {
        "apikey": "[MASKED]",
        "token": "[MASKED]",
        "password": "[MASKED]",
        "key": "[MASKED]",
        "unit": "u",
    }


def test_values_are_bounded_in_length_depth_and_number() -> None:
    redactor = Redactor()
    assert len(str(redactor.json_value("word " * 50_000))) < TEXT_LIMIT + 50
    assert redactor.json_value(list(range(60)))[-1] == "... 10 more"  # type: ignore[index]
    assert redactor.json_value({str(number): 1 for number in range(60)})["..."] == "10 more"  # type: ignore[index,call-overload]
    circle: list[object] = []
    circle.append(circle)
    assert "..." in str(redactor.json_value(circle))


def test_a_long_block_keeps_its_beginning_and_its_end() -> None:
    output = Redactor().block("first\n" + "word\n" * 100_000 + "last 5511999999999")
    assert output.startswith("first\n")
    assert output.endswith("\nlast ****9999")
    assert len(output) < 3 * TEXT_LIMIT


def test_no_secret_is_cut_in_half_by_the_limits() -> None:
    redactor = Redactor()
    redactor.register(TOKEN)
    for shift in range(len(TOKEN)):
        padding = "x " * ((TEXT_LIMIT - shift) // 2)
        assert TOKEN[:5] not in redactor.text(padding + TOKEN + padding)
