import re
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.privacy.masking import is_secret_name, mask_phone, mask_secrets, mask_text, sanitize_error

PHONES = st.integers(10**9, 10**13).map(lambda number: f"55{number}"[:15])
WORDS = st.text(alphabet="abcxyz ,;:!?()[]{}<>=\n\t'\"áéí", max_size=20)


def test_a_phone_keeps_its_last_four_digits() -> None:
    assert mask_phone("+5511999999999") == "****9999"
    assert mask_phone("5511999990001@s.whatsapp.net") == "****0001"
    assert mask_phone("5511999990001:12@s.whatsapp.net") == "****0001"
    assert mask_phone("(11) 99999-0001") == "****0001"


@pytest.mark.parametrize("short", ["", "1234", "1234567", "no phone"])
def test_too_few_digits_to_hide_four_of_them_show_none(short: str) -> None:
    assert mask_phone(short) == "****"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("+5511999999999", "****9999"),
        ("from 5511999999999, again", "from ****9999, again"),
        ("call +55 (11) 99999-9999 now", "call ****9999 now"),
        ("call +55\u00a011\u00a099999\u20119999 now", "call ****9999 now"),
        ("\u202a+55 11 99999-9999\u202c", "\u202a****9999\u202c"),
        ("*5511999999999*", "*****9999*"),
        ("5 5 1 1 9 9 9 9 9 9 9 9 9", "****9999"),
        ("99999.9999", "****9999"),
        ("ratio 55.11.99999.9999", "ratio ****9999"),
        ("tel:5511999999999;x", "tel:****9999;x"),
        ("number=%2B5511999999999&x=1", "number=%2B****9999&x=1"),
        ("q=%2B55%2011%2099999-9999", "q=%2B****9999"),
        (r"'Oi\n5511999999999'", r"'Oi\n****9999'"),
        ("5511999990001 5511999990002", "****0001 ****0002"),
        ("5511999990001,5511999990002", "****0001,****0002"),
        ('{"number":"5511999999999"}', '{"number":"****9999"}'),
        ("at 1795278051 sharp", "at ****8051 sharp"),
    ],
)
def test_phones_in_texts_are_masked(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("5511999999999@s.whatsapp.net", "****9999@s.whatsapp.net"),
        ("5511999999999:7@s.whatsapp.net", "****9999@s.whatsapp.net"),
        ("to 5511999999999@c.us.", "to ****9999@c.us."),
        ("123456789012345@lid", "****2345@lid"),
        ("120363041234567890@g.us", "****7890@g.us"),
        ("5511999999999-1604589655@g.us", "****9999@g.us"),
        ("true_5511999999999@c.us_3EB0", "true_****9999@c.us_3EB0"),
    ],
)
def test_whatsapp_addresses_lose_their_user_part(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Message created: 3EB0A1234567890123",
        "AC000000ABCDEF012345678902FBDCB5",
        "12345678-1234-1234-1234-123456789012",
        "2026-11-05T12:34:56.123456Z",
        "2026-11-05 12:34:56,123",
        "2026-11-05T12:34:56+00:00",
        "since 2026-11-05 until 2026-11-06.",
        "from 192.168.100.200:54321",
        "took 0.12345678 s",
        "unit_12345678",
        "seq 1234567890123456789",
        "Evolution 2.3.7, PostgreSQL 18",
        "only 1234567",
        "",
    ],
)
def test_ids_times_and_addresses_of_machines_stay(text: str) -> None:
    assert mask_text(text) == text


@given(before=WORDS, phone=PHONES, after=WORDS)
def test_no_phone_survives_in_any_text(before: str, phone: str, after: str) -> None:
    if (before and before[-1].isalpha()) or (after and after[0].isalpha()):
        before, after = before + " ", " " + after
    assert phone not in mask_text(before + phone + after)
    assert phone[-8:] not in mask_text(before + phone + after)


@given(st.lists(PHONES, min_size=1, max_size=5), st.sampled_from([" ", ", ", "-", "/", "; ", " and ", "\n"]))
def test_no_phone_of_a_list_survives(phones: list[str], glue: str) -> None:
    masked = mask_text(glue.join(phones))
    assert re.search(r"\d{5}", masked) is None


@given(PHONES, st.data())
def test_no_formatted_phone_survives(phone: str, data: st.DataObject) -> None:
    gap = st.sampled_from(["", "", " ", "-", ".", ") ", " (", "\u00a0", "\u2011", " - "])
    displayed = "".join(digit + data.draw(gap) for digit in phone)
    digits = re.sub(r"\D", "", mask_text("x: " + displayed + ".")[3:])
    assert len(digits) <= 4


@given(st.text(alphabet=" 0123456789-+().@*abfgu_:/\\n%", max_size=80))
def test_masking_again_changes_nothing(text: str) -> None:
    once = mask_text(text)
    assert mask_text(once) == once


@given(st.uuids(), st.text(alphabet="0123456789ABCDEF", min_size=18, max_size=32))
def test_ids_survive_whatever_their_digits(unit: uuid.UUID, tail: str) -> None:
    text = f"Message 3EB0A{tail}F for {unit}"
    assert mask_text(text) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("/webhooks/whatsapp/evolution/s3cret", "/webhooks/whatsapp/evolution/[MASKED]"),
        (
            "POST /webhooks/whatsapp/evolution/s3cret/messages-upsert HTTP/1.1",
            "POST /webhooks/whatsapp/evolution/[MASKED]/messages-upsert HTTP/1.1",
        ),
        (
            "https://crm.example/webhooks/whatsapp/evolution/s3cret?x=1",
            "https://crm.example/webhooks/whatsapp/evolution/[MASKED]?x=1",
        ),
        ("/webhooks/whatsapp/evolution/", "/webhooks/whatsapp/evolution/"),
        ("postgresql://u:pw@h:5432/db", "postgresql://[MASKED]@h:5432/db"),
        ("postgres://u:p/w@x@h/db", "postgres://[MASKED]@h/db"),
        ("redis://:pw@h", "redis://[MASKED]@h"),
        ("http://127.0.0.1:8080/chat/1@g.us", "http://127.0.0.1:8080/chat/1@g.us"),
        ("host=h password='a b' user=u", "host=h password='[MASKED]' user=u"),
        ("/x?apikey=abc&y=1", "/x?apikey=[MASKED]&y=1"),
        ("EVOLUTION_API_KEY=abc", "EVOLUTION_API_KEY=[MASKED]"),
        ("access_token=abc", "access_token=[MASKED]"),
        ("Authorization: Bearer abc.def", "Authorization: [MASKED]"),
        ("apikey: abc", "apikey: [MASKED]"),
        ("got Bearer abcdef-123", "got Bearer [MASKED]"),
        ('{"apikey": "A\\"BC", "x": 1}', '{"apikey": "[MASKED]", "x": 1}'),
        (r"{\"apikey\":\"ABC\",\"x\":1}", r"{\"apikey\":\"[MASKED]\",\"x\":1}"),
        ("{'token': 'abc'}", "{'token': '[MASKED]'}"),
        ("token='cut off in the mid", "token='[MASKED]' off in the mid"),
        ("jwt eyJhbGciOi.eyJhcHAi.c2lnbmF0dXJl", "jwt [MASKED]"),
    ],
)
def test_secrets_in_urls_headers_and_dsns_are_masked(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


@pytest.mark.parametrize("text", ["ZAPLINE_MASTER_KEY: write one", "bad secret: unit_x", "https://evo.example/a?b=c"])
def test_explanations_about_secrets_stay_readable(text: str) -> None:
    assert mask_secrets(text) == text


@given(
    st.text(alphabet="abcXYZ019-_.~", min_size=1, max_size=64),
    st.sampled_from(["", "/messages-upsert", "?a=b"]),
)
def test_no_webhook_secret_survives(secret: str, suffix: str) -> None:
    assert mask_secrets(f"/webhooks/whatsapp/evolution/{secret}{suffix}") == (
        f"/webhooks/whatsapp/evolution/[MASKED]{suffix}"
    )


@pytest.mark.parametrize(
    "name",
    [
        *(
            "secret",
            "token",
            "password",
            "apikey",
            "apiKey",
            "api_key",
            "API-KEY",
            "authorization",
            "key",
            "dsn",
        ),
        *("webhook_secret", "evolution_api_key", "database_url", "Set-Cookie", "accessToken", "masterKey"),
    ],
)
def test_names_of_secret_fields_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["unit", "instance", "key_id", "message_id", "status", "tokens_left", "monkey"])
def test_other_names_are_not_taken_for_secrets(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "displayed"),
    [
        ("No such file: '/var/lib/My Files/j.db'", "No such file: [path]"),
        ("cannot read /etc/zapline/key, sorry", "cannot read [path], sorry"),
        ("in src/zapline/sql/driver.py line 3", "in [path] line 3"),
        (r"cannot read C:\Users\x\y.txt now", "cannot read [path] now"),
        ("read/write failed and/or N/A", "read/write failed and/or N/A"),
        ("https://evo.example/instance/connect", "https://evo.example/instance/connect"),
        ("unit 4f8b0a52-1c1e-4f6e-9d53-6a1f0e2b7c11 missing", "unit [id] missing"),
        ("key B6D711FCDE4D4FD5936544120E713976 refused", "key [MASKED] refused"),
        ("key dGhpc2lzYXZlcnlsb25nc2VjcmV0MTIz= refused", "key [MASKED] refused"),
        (
            "violates unit_whatsapp_connections_instance_fkey",
            "violates unit_whatsapp_connections_instance_fkey",
        ),
        ("5511999999999 is not on WhatsApp", "****9999 is not on WhatsApp"),
        ("first\n  second\x1b[31m", "first second?[31m"),
        ('connecting to "postgresql://u:pw@h/db"', 'connecting to "postgresql://[MASKED]@h/db"'),
    ],
)
def test_an_error_shown_to_people_names_no_paths_ids_or_keys(text: str, displayed: str) -> None:
    assert sanitize_error(text) == displayed


def test_an_error_shown_to_people_is_short() -> None:
    displayed = sanitize_error("word " * 100_000)
    assert len(displayed) == 500
    assert displayed.endswith("…")


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        "1",
        "1 ",
        "12-34.56",
        "a=b:c/",
        "secret",
        "0.0.",
        "a-",
        "1@",
        "1:",
        "://",
        "postgres://",
        "token='",
        "@",
        "'/",
    ],
)
def test_a_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    text = piece * (200_000 // len(piece)) + "@="
    started = time.process_time()
    mask_text(text), mask_secrets(text), sanitize_error(text)
    # In proportion this takes a tenth of a second of the processor, with the square of the length some minutes.
    assert time.process_time() - started < 20
