"""What is encrypted under a message's secret: opened with every spelling of the names, and by no other secret."""

from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.encrypted_messages import (
    NONCE,
    SECRET,
    caption_content,
    edit_of,
    encrypt,
    field,
    text_content,
    vote_for,
)

from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.messages.message_secrets import (
    MAX_PAYLOAD,
    Ciphertext,
    OpenedEdit,
    SecretSealer,
    SecretUse,
    decrypt,
    read_edit,
    read_event_response,
    read_vote,
)
from zapline.domain.messages.wire_format import BadWire, message_text, read_fields

TARGET = ExternalId("3A00")
PHONE, LID = "5511999990001@s.whatsapp.net", "111222333444555@lid"
OURS, OUR_LID = "5511999990000@s.whatsapp.net", "999888777666555@lid"
AT = 1_795_364_500_123
UNIT = UnitId(UUID(int=1))


def ciphertext(payload: bytes, use: SecretUse = SecretUse.MESSAGE_EDIT, nonce: bytes = NONCE) -> Ciphertext:
    return Ciphertext(use, TARGET, payload, nonce)


@pytest.mark.parametrize(("author", "speaker"), list(product([PHONE, LID], repeat=2)))
def test_an_edit_opens_under_any_spelling_of_either_name(author: str, speaker: str) -> None:
    plain = edit_of(text_content("três"), AT, TARGET)
    payload = encrypt(plain, TARGET, author, speaker)
    names = [LID, OURS, PHONE]
    assert decrypt(ciphertext(payload), [bytes(32), SECRET], names, names) == plain
    assert read_edit(plain, TARGET) == OpenedEdit("três", AT)
    assert decrypt(ciphertext(payload), [bytes(32)], names, names) is None
    assert decrypt(ciphertext(payload), [SECRET], [OURS], names) is None


@pytest.mark.parametrize(
    ("use", "name"), [(SecretUse.POLL_VOTE, "Poll Vote"), (SecretUse.EVENT_RESPONSE, "Event Response")]
)
@pytest.mark.parametrize(("author", "speaker"), list(product([OURS, OUR_LID], [PHONE, LID])))
def test_votes_and_answers_are_bound_to_who_speaks(use: SecretUse, name: str, author: str, speaker: str) -> None:
    payload = encrypt(b"\x08\x01", TARGET, author, speaker, name)
    assert decrypt(ciphertext(payload, use), [SECRET], [OURS, OUR_LID], [PHONE, LID]) == b"\x08\x01"
    other = SecretUse.EVENT_RESPONSE if use is SecretUse.POLL_VOTE else SecretUse.POLL_VOTE
    assert decrypt(ciphertext(payload, other), [SECRET], [OURS, OUR_LID], [PHONE, LID]) is None


@pytest.mark.parametrize("use", [SecretUse.EVENT_EDIT, SecretUse.POLL_EDIT, SecretUse.POLL_ADD_OPTION])
def test_uses_without_a_reader_are_not_tried(use: SecretUse) -> None:
    assert decrypt(ciphertext(bytes(40), use), [SECRET], [PHONE], [PHONE]) is None


@pytest.mark.parametrize("nonce", [b"", b"\x01", bytes(12), bytes(129)])
@pytest.mark.parametrize("payload", [b"", b"\x07\x09", bytes(16), bytes(MAX_PAYLOAD + 1)])
def test_a_ciphertext_of_any_size_is_refused_without_an_error(payload: bytes, nonce: bytes) -> None:
    assert decrypt(ciphertext(payload, nonce=nonce), [SECRET, b""], [PHONE], [PHONE]) is None


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        (edit_of(text_content("a")), OpenedEdit("a", None)),
        (edit_of(field(6, field(1, "b")), AT), OpenedEdit("b", AT)),
        (edit_of(caption_content("c"), AT), OpenedEdit("c", AT)),
        (edit_of(field(9, field(7, "d")), AT), OpenedEdit("d", AT)),
        (edit_of(field(7, field(20, "e")), AT), OpenedEdit("e", AT)),
        (edit_of(field(53, field(1, field(7, field(20, "f")))), AT), OpenedEdit("f", AT)),
        (edit_of(field(40, field(1, text_content("g"))), AT), OpenedEdit("g", AT)),
        (edit_of(field(3, b""), AT), OpenedEdit("", AT)),
        (caption_content("alone"), OpenedEdit("alone", None)),
        (text_content("alone"), OpenedEdit("alone", None)),
        (field(58, field(1, edit_of(text_content("wrapped"), AT))), OpenedEdit("wrapped", AT)),
        (edit_of(text_content("nul\0 \ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace"))), None),
        (edit_of(text_content("x"), 5), OpenedEdit("x", None)),
        (edit_of(field(1, b"\xff\xfe"), AT), OpenedEdit("\ufffd\ufffd", AT)),
        (edit_of(text_content("x"), AT, "another"), None),
        (field(12, field(2, 0)), None),
        (field(12, field(2, 3) + field(14, text_content("x"))), None),
        (edit_of(field(46, b"")), None),
        (b"", None),
        (b"\xff\xff", None),
    ],
)
def test_edits_are_read_by_what_they_hold(plain: bytes, expected: OpenedEdit | None) -> None:
    read = read_edit(plain, TARGET)
    if read is not None and "nul" in read.text:
        assert "\0" not in read.text
        return
    assert read == expected


def test_a_vote_names_options_by_their_digest() -> None:
    options = ["Sim", "Não", "Talvez"]
    assert read_vote(vote_for("Talvez", "Sim"), options) == ("Sim", "Talvez")
    assert read_vote(b"", options) == ()
    assert read_vote(vote_for("Nunca"), options) is None
    assert read_vote(field(1, 5), options) is None
    assert read_vote(b"\x0a\xff", options) is None


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        *((field(1, 1), "going"), (field(1, 2), "not_going"), (field(1, 3) + field(2, AT), "maybe")),
        *((field(1, 0), None), (field(1, 9), None), (b"", None), (b"\x08", None)),
    ],
)
def test_an_answer_to_an_event_is_one_of_three(plain: bytes, expected: str | None) -> None:
    assert read_event_response(plain) == expected


@given(st.binary(max_size=400))
def test_no_bytes_make_the_readers_fail(data: bytes) -> None:
    read_edit(data, TARGET)
    assert set(read_vote(data, ["a"]) or ()) <= {"a"}
    assert read_event_response(data) in (None, "going", "not_going", "maybe")


def test_hostile_messages_are_refused_at_once() -> None:
    nested = text_content("x")
    for _ in range(50):
        nested = field(40, field(1, nested))
    assert read_edit(edit_of(nested), TARGET) is None
    with pytest.raises(BadWire):
        read_fields(b"\x08\x01" * 5000)
    with pytest.raises(BadWire):
        read_fields(b"\x0b")
    with pytest.raises(BadWire):
        read_fields(b"\x00\x01")
    assert read_fields(b"\x0d\x01\x00\x00\x00\x09" + bytes(8)) == {1: [1, 0]}
    assert message_text(read_fields(field(99, "?"))) is None


def test_a_secret_is_sealed_for_its_message_alone_and_always_alike() -> None:
    sealer = SecretSealer(bytes(32))
    sealed = sealer.seal(UNIT, TARGET, SECRET)
    assert SECRET not in sealed
    assert sealer.seal(UNIT, TARGET, SECRET) == sealed
    assert sealer.unseal(UNIT, TARGET, sealed) == SECRET
    assert sealer.unseal(UNIT, ExternalId("3A01"), sealed) is None
    assert sealer.unseal(UNIT, TARGET, sealed[:10]) is None
    assert SecretSealer(b"\1" * 32).unseal(UNIT, TARGET, sealed) is None
