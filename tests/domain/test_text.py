from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.text import clean_text


def test_nul_goes_and_half_a_pair_is_replaced() -> None:
    assert clean_text("a\x00b") == "ab"
    assert clean_text("x\ud83dy") == "x\ufffdy"
    assert clean_text("\udc4b") == "\ufffd"


def test_two_halves_side_by_side_are_the_character_they_mean() -> None:
    assert clean_text("\ud83d\udc4b") == "👋"


def test_a_text_is_cut_at_the_limit() -> None:
    assert clean_text("éé👋👋", 3) == "éé👋"
    assert clean_text("abc", 3) == "abc"


@given(st.text(st.characters(codec=None)))
def test_every_text_becomes_storable(text: str) -> None:
    cleaned = clean_text(text)
    assert "\x00" not in cleaned
    assert cleaned.encode().decode() == cleaned
    assert clean_text(cleaned) == cleaned
