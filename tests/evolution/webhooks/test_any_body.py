"""A body never seen before: parsing never raises, and what comes out can be stored."""

import dataclasses
import json
import time
import typing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.property_examples import examples

import zapline.sandbox
from zapline.domain.inbound_events import InboundEvent, Unusable
from zapline.domain.messages.facts import MessageArrived
from zapline.domain.messages.message_secrets import MAX_PAYLOAD
from zapline.evolution.webhooks import message_events
from zapline.evolution.webhooks.contents.plain_texts import plain_text
from zapline.evolution.webhooks.envelope import extract_envelope, extract_instance
from zapline.evolution.webhooks.event_parser import parse_webhook
from zapline.evolution.webhooks.secret_stripping import strip_secrets

WEBHOOKS = Path(zapline.sandbox.__file__).parent / "recordings" / "webhooks"
RAW = [path.read_bytes() for path in sorted(WEBHOOKS.glob("*.json"))]
SAMPLES = [json.loads(raw) for raw in RAW if raw.rstrip().endswith(b"}")]
KNOWN = typing.get_args(InboundEvent)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**15, max_value=10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None), max_size=20)
    | st.sampled_from(["x" * 300, "5511999990001@s.whatsapp.net", "1@lid", "REVOKE", "MESSAGE_EDIT", "\x00"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "key", "message", "type", "low", "high", "keys", "pollUpdates", "0", "data"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def locations(value: Any, spots: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (holder, key or index) of a body; an index object counts as one."""
    if isinstance(value, dict) and "0" not in value:
        for name, inner in value.items():
            spots.append((value, name))
            locations(inner, spots)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            spots.append((value, index))
            locations(inner, spots)
    return spots


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    envelope = json.loads(json.dumps(draw(st.sampled_from(SAMPLES))))
    for _ in range(draw(st.integers(1, 4))):
        spots = locations(envelope, [])
        if not spots:
            break
        holder, name = spots[draw(st.integers(0, len(spots) - 1))]
        match draw(st.sampled_from(["delete", "replace", "nest", "list", "double"])):
            case "delete":
                del holder[name]
            case "replace":
                holder[name] = draw(values)
            case "nest":
                holder[name] = {"message": holder[name]}
            case "list":
                holder[name] = [holder[name]]
            case _ if isinstance(holder, dict):
                holder[draw(st.sampled_from(["conversation", "protocolMessage", "pollUpdates", "keys"]))] = json.loads(
                    json.dumps(holder[name])
                )
    raw = json.dumps(envelope, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        raw = raw[: draw(st.integers(0, len(raw)))]
    return raw


def assert_storable(value: Any) -> None:
    """No NUL, no half of a surrogate pair, no number beyond 64 bits, nothing that is not JSON."""
    if isinstance(value, msgspec.Struct):
        assert_storable(msgspec.structs.asdict(value))
    elif isinstance(value, str):
        assert "\x00" not in value
        value.encode()
        assert len(value) <= 131_072
    elif isinstance(value, dict):
        for name, inner in value.items():
            assert_storable(name)
            assert_storable(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            assert_storable(inner)
    elif isinstance(value, int):
        assert -(2**63) <= value < 2**63
    elif isinstance(value, float):
        json.dumps(value, allow_nan=False)
    elif isinstance(value, bytes):
        assert len(value) <= MAX_PAYLOAD
    else:
        assert value is None


def read_by_all_readers(raw: bytes) -> list[InboundEvent]:
    """What comes out where no message is taken for a text and nothing else."""
    with patch.object(message_events, "plain_text", lambda body, data: None):
        return parse_webhook(raw)


def check(raw: bytes) -> None:
    facts = parse_webhook(raw)
    assert facts
    assert read_by_all_readers(raw) == facts
    for fact in facts:
        assert isinstance(fact, KNOWN)
        assert_storable(fact if isinstance(fact, msgspec.Struct) else dataclasses.asdict(fact))
        if isinstance(fact, MessageArrived):
            msgspec.json.encode(fact.detail)
    assert parse_webhook(raw) == facts
    extract_instance(raw)
    extract_envelope(raw)
    stripped = strip_secrets(raw)
    assert b'"apikey": "ALPHA-TOKEN"' not in stripped
    if facts != [Unusable("invalid_json")] and facts != [Unusable("too_deep")]:
        assert parse_webhook(stripped) == facts


@pytest.mark.slow
@settings(max_examples=examples(600), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_mutated_body_is_read_to_known_facts(raw: bytes) -> None:
    check(raw)


@st.composite
def nearly_plain(draw: st.DrawFn) -> bytes:
    """A text and nothing else, and one or two things that may make it more than that."""
    key: dict[str, Any] = {"remoteJid": draw(st.sampled_from(ADDRESSES)), "fromMe": draw(st.booleans()), "id": "3EB0A1"}
    context: dict[str, Any] = {"deviceListMetadata": {"senderKeyHash": "x"}, "deviceListMetadataVersion": 2}
    message: dict[str, Any] = {"conversation": draw(st.sampled_from(["oi", "", "\x00a", "\ud83d", "x" * 200_000]))}
    if draw(st.booleans()):
        message["messageContextInfo"] = context
    data: dict[str, Any] = {"key": key, "pushName": "Ana", "message": message, "messageTimestamp": 1_764_000_000}
    data |= draw(st.sampled_from([{}, {"contextInfo": None}, {"contextInfo": {}, "status": "DELIVERY_ACK"}]))
    for _ in range(draw(st.integers(0, 2))):
        holder = draw(st.sampled_from([data, key, message, context]))
        holder[draw(st.sampled_from(BESIDE))] = draw(st.sampled_from(TOLD) | values)
    event = draw(st.sampled_from(["messages.upsert", "messages.set", "send.message"]))
    envelope = {"event": event, "instance": "a", "data": data, "sender": "5511999990000@s.whatsapp.net"}
    return json.dumps(envelope).encode()


ADDRESSES = [
    *("5511999990001@s.whatsapp.net", "5511999990000@c.us", "1@lid"),
    *("120363@g.us", "5@broadcast", "status@broadcast"),
]
BESIDE = [
    *("contextInfo", "messageContextInfo", "messageSecret", "messageAssociation", "conversation", "status", "source"),
    *("speechToText", "reactions", "userReceipt", "base64", "mediaUrl", "messageStubType", "participant", "senderPn"),
    *("remoteJidAlt", "remoteJidUsername", "senderLid", "participantAlt", "imageMessage", "editedMessage", "stanzaId"),
    *("isForwarded", "expiration", "mentionedJid", "quotedMessage", "pairedMediaType", "pushName", "messageTimestamp"),
]
TOLD: list[Any] = [
    *(None, {}, {"stanzaId": "3EB0B2", "quotedMessage": {"conversation": "a"}}, {"messageSecret": list(range(32))}),
    *({"mentionedJid": ["1@lid"], "isForwarded": True, "expiration": 86_400}, list(range(32)), True, "READ", "1@lid"),
    *({"messageAssociation": {"associationType": 1, "parentMessageKey": {"id": "3EB0C3"}}}, [{"text": "a"}], "a"),
]


def test_some_recorded_bodies_are_a_text_and_nothing_else_and_are_read_as_by_all_readers() -> None:
    taken: list[str | None] = []

    def note(body: Any, data: Any) -> str | None:
        taken.append(plain_text(body, data))
        return taken[-1]

    with patch.object(message_events, "plain_text", note):
        facts = [parse_webhook(raw) for raw in RAW]
    assert facts == [read_by_all_readers(raw) for raw in RAW]
    assert sum(said is not None for said in taken) > 5
    assert None in taken


@pytest.mark.slow
@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nearly_plain())
def test_a_text_and_nothing_else_is_read_as_all_readers_together_read_it(raw: bytes) -> None:
    assert parse_webhook(raw) == read_by_all_readers(raw)


@settings(max_examples=examples(150), deadline=None)
@given(st.sampled_from(["messages.upsert", "messages.update", "messages.edited", "contacts.upsert", "call"]), values)
def test_any_data_under_a_known_event_is_read_to_known_facts(event: str, data: Any) -> None:
    check(json.dumps({"event": event, "instance": "a", "data": data}).encode())


@settings(max_examples=examples(150), deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_to_known_facts(raw: bytes) -> None:
    check(raw)


@pytest.mark.parametrize("opening", ['{"a":', "[", '{"message":', '{"keys":[', '{"ephemeralMessage":{"message":'])
@pytest.mark.parametrize("depth", [100, 450, 900, 10_000, 100_000])
def test_depth_is_no_way_to_break_it(opening: str, depth: int) -> None:
    closing = "".join({"{": "}", "[": "]"}[letter] for letter in reversed(opening) if letter in "{[")
    deep = opening * depth + "1" + closing * depth
    for event in ("messages.upsert", "messages.update", "messages.delete", "messages.edited"):
        raw = f'{{"event":"{event}","instance":"loja","data":{deep}}}'.encode()
        check(raw)
        assert extract_instance(raw) == "loja"
        assert extract_envelope(raw).instance == "loja"


# -- envelope ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "instance"),
    [
        (b'{"instance":"loja"}', "loja"),
        (b'{"data":{"instance":"other"},"instance":"loja"}', "loja"),
        (b'{"instance":"loja","data":"\\ud83d"}', "loja"),
        (b'{"instance":"loja","data":1e999}', "loja"),
        (b'{"instance":"loja"', None),
        (b'{"instance":5}', None),
        (b'{"instance":null}', None),
        (b"{}", None),
        (b"[]", None),
        (b'"loja"', None),
        (b"", None),
    ],
)
def test_the_instance_is_found_or_absent(raw: bytes, instance: str | None) -> None:
    assert extract_instance(raw) == instance
    assert extract_envelope(raw).instance == instance


def test_of_a_large_body_that_msgspec_refuses_only_the_head_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object, **__: object) -> None:
        raise AssertionError("the standard library was called")

    monkeypatch.setattr("zapline.evolution.webhooks.envelope.json.loads", slow)
    large = b'{"event":"messages.set","instance":"loja","data":["\\ud83d","' + b"x" * 2**20 + b'"]}'
    assert extract_instance(large) == extract_envelope(large).instance == "loja"
    late = b'{"data":["\\ud83d","' + b"x" * 2**20 + b'"],"instance":"loja"}'
    assert extract_instance(late) is extract_envelope(late).instance is None


# -- secrets -------------------------------------------------------------------------------------------------

SECRET = "s3cr3t-\\/\u00e9"


def without_credentials(value: Any) -> Any:
    if isinstance(value, list):
        return [without_credentials(element) for element in value]
    if not isinstance(value, dict):
        return value
    return {
        name: None if name in CREDENTIALS and not isinstance(inner, bool) else without_credentials(inner)
        for name, inner in value.items()
    }


CREDENTIALS = ("apikey", "apiKey", "instanceToken", "token")


@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*CREDENTIALS, "data", "destination", 'a"apikey', "event", "mytoken", "instance"]),
        values
        | st.sampled_from([SECRET, '"apikey":"x"', '{"apikey": "nested"}', "apikey", ',"token":"x",', "\\"])
        | st.dictionaries(st.sampled_from(["apikey", "token", "instanceToken", "x"]), values, max_size=3),
        max_size=6,
    ),
    st.sampled_from([None, (",", ":"), (" , ", " : ")]),
)
def test_only_credentials_are_removed(envelope: dict[str, Any], separators: Any) -> None:
    raw = json.dumps(envelope, separators=separators).encode()
    expected = without_credentials(envelope)
    assert json.loads(strip_secrets(raw)) == json.loads(json.dumps(expected))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"apikey":"SECRET","x":1}',
        b'{"data":{"apikey":"SECRET"},"apikey" : "SECRET"}',
        b'{"data":{"instance":{"instanceToken":"SECRET"},"token":"SECRET"}}',
        b'{"instanceToken":"SECRET","data":{"n":1}}',
        b'{"instance_token":"SECRET"}',
        b'{"InstanceToken" : "SECRET"}',
        b'{"ApiKey":"SECRET"}',
        b'{"api_key":"SECRET"}',
        b'{"headers":{"Authorization":"Bearer SECRET"}}',
        b'{"token":12345.5e3,"jwt_key":"SECRET"}',
        b'{"\\u0061pikey":"SECRET","apikey":null}',
        b'{"apikey":"SECRET","apikey":null}',
        b'{"apikey":{"deep":["SECRET"]}}',
        b'{"apikey":"SECRET","data":"\\ud83d"}',
        b'{"event":"x","apikey":"SECRET',
        b'{"event":"x","instanceToken":"SECRET',
        b'{"apikey":"SECRET","data":1e999}',
        b'{"destination":"http://h/webhooks/whatsapp/evolution/SECRET',
        b'{"apikey":"SECRET","data":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    ],
)
def test_a_key_is_found_wherever_it_hides(raw: bytes) -> None:
    assert b"SECRET" not in strip_secrets(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"data":{"message":{"messageContextInfo":{"messageSecret":{"0":1}}}},"apikey":null}',
        b'{"data":{"message":{"conversation":"{\\"apikey\\":\\"kept\\"}"}}}',
        b'{"data":{"message":{"conversation":"my token is ,\\"token\\":\\"kept\\""}}}',
        b'{"token":null,"mytoken":"kept","data":["token","apikey"]}',
    ],
)
def test_what_is_no_credential_keeps_its_very_bytes(raw: bytes) -> None:
    assert strip_secrets(raw) is raw


def test_our_own_secret_path_is_taken_out_and_a_foreign_destination_stays() -> None:
    ours = b'{"destination":"http://h/webhooks/whatsapp/evolution/SECRET/messages-upsert","data":{"n":1.50}}'
    assert strip_secrets(ours) == b'{"destination":null,"data":{"n":1.50}}'
    assert b"SECRET" not in strip_secrets(ours[:-1])
    foreign = b'{"destination":"http://h/hook/alpha","apikey":null}'
    assert strip_secrets(foreign) is foreign


def test_the_rest_of_the_body_keeps_its_very_bytes() -> None:
    raw = b'{ "data" : { "n" : 1.50, "t" : "\\"apikey\\":\\"x\\"" } , "apikey" : "SECRET" }'
    assert strip_secrets(raw) == raw.replace(b'"SECRET"', b"null")


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["/webhooks/whatsapp/", '"destination":"/webhooks/whatsapp/', 'token":', "oken_", " "]
)
def test_a_text_full_of_what_is_searched_for_takes_time_in_proportion_to_its_length(piece: str) -> None:
    text = piece * (2_000_000 // len(piece))
    data = {"message": {"conversation": text, "mentions": ["destination", text]}}
    body = {"event": "messages.upsert", "instance": "oken_", "data": data, "destination": "/webhooks/whatsapp/x/SECRET"}
    raw = json.dumps(body).encode()
    started = time.process_time()
    assert json.loads(strip_secrets(raw)) == body | {"destination": None}
    # In proportion this takes some hundredths of a second of the processor, with the square of the length a minute.
    assert time.process_time() - started < 10
