"""Files of any size and in pieces of any length are decoded as they arrive, and nothing but a file is taken for one."""

import base64
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.evolution.client.failures import BadAnswer, EvolutionFailure
from zapline.evolution.client.media_stream import LargerThanWanted, MediaDecoder


def decoded(pieces: list[bytes], most: int = 10**6) -> tuple[bytes, dict[str, Any], bool]:
    content = bytearray()
    decoder = MediaDecoder(content.extend, most)
    for piece in pieces:
        decoder.feed(piece)
    answer = decoder.finish()
    assert decoder.size == len(content)
    return bytes(content), answer, decoder.whole


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["base64", "a"]), inner, max_size=2),
    max_leaves=6,
)


@given(
    st.binary(min_size=1, max_size=64),
    st.dictionaries(st.text(max_size=6).filter(lambda name: name != "base64"), VALUES, max_size=3),
    st.dictionaries(st.sampled_from(["caption", "fileName", 'x"base64":"']), VALUES, max_size=2),
    st.lists(st.integers(0, 10**6), max_size=8),
    st.booleans(),
)
def test_whatever_stands_around_a_file_and_wherever_it_is_cut_its_bytes_are_the_same(
    content: bytes, before: dict[str, Any], after: dict[str, Any], places: list[int], spaced: bool
) -> None:
    before.pop("error", None)
    answer = before | {"base64": base64.b64encode(content).decode()} | after
    for escaped in (False, True):
        text = json.dumps(answer, separators=None if spaced else (",", ":"))
        found, around, whole = decoded(cut((text.replace("/", "\\/") if escaped else text).encode(), places))
        assert (found, whole) == (content, True)
        assert around == answer | {"base64": ""}


def test_what_is_no_file_is_refused_or_seen_to_be_none() -> None:
    for text in (b'{"base64":"QQ="}', b'{"base64":"QQ==QQ=="}', b'{"base64":"Q Q="}', b'{"base64":"\\u0051Q=="}'):
        with pytest.raises(BadAnswer):
            decoded([text])
    with pytest.raises(BadAnswer):
        decoded([b'{"base64":"QQ==', b'QQ=="}'])
    for text in (b"[]", b'"base64"', b'{"base64":"QQ=="', b"<html>base64</html>"):
        with pytest.raises(BadAnswer):
            decoded([text])
    for text in (b"{}", b'{"base64":null}', b'{"base64":""}', b'{"a":{"base64":"QQ=="}}', b'{"a":["base64","QQ=="]}'):
        assert decoded([text])[2] is False
    with pytest.raises(EvolutionFailure) as failed:
        decoded([b'{"error":true}'])
    assert failed.value.code == "operation_failed"


def test_a_file_that_is_larger_than_wanted_and_an_endless_answer_are_given_up() -> None:
    with pytest.raises(LargerThanWanted):
        decoded([b'{"base64":"' + base64.b64encode(bytes(99)) + b'"}'], most=98)
    decoder = MediaDecoder(lambda content: None, 10)
    piece = b'{"caption":"' + b"x" * 100_000
    for _ in range(9):
        decoder.feed(piece)
    with pytest.raises(BadAnswer):
        decoder.feed(piece * 20)
