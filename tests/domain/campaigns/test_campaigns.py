"""Templates, lists of recipients, states of a campaign, and when it may send and will have ended."""

import csv
import io
import random
from datetime import datetime, time
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zapline.domain.campaigns.recipient_checks import RecipientCounts, check_recipients, parse_recipient_phone
from zapline.domain.campaigns.recipients_csv import (
    LONGEST_VALUE,
    CsvReader,
    InvalidRecipients,
    RecipientInput,
    parse_json_recipients,
)
from zapline.domain.campaigns.schedule import CampaignTiming, estimate_end
from zapline.domain.campaigns.states import (
    CampaignCommand,
    CampaignState,
    WrongCampaignState,
    campaign_client_id,
    next_state,
)
from zapline.domain.campaigns.text_templates import InvalidTemplate, MessageTemplate, TextTemplate, variable_name
from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File, OutgoingMessage, Text
from zapline.domain.outbox.pacing import PaceLimits
from zapline.domain.outbox.quiet_hours import QuietHours

SAO_PAULO, NEW_YORK = ZoneInfo("America/Sao_Paulo"), ZoneInfo("America/New_York")


def letter(text: str = "Olá {{nome}}") -> MessageTemplate:
    return MessageTemplate.parse(OutgoingMessage(Text(text)))


# -- templates -----------------------------------------------------------------------------------------------


def test_a_variable_is_replaced_and_an_empty_one_falls_back() -> None:
    template = TextTemplate.parse("Oi {{ Nome }}, {{Nome do plano|seu plano}} vence {{dia}}. }} {x}")
    assert template.needed == {"nome", "dia"}
    said = template.render({"nome": "Ana", "nome_do_plano": "", "dia": "{{nome}}"})
    assert said == "Oi Ana, seu plano vence {{nome}}. }} {x}"
    with pytest.raises(KeyError):
        template.render({"nome": "Ana"})
    assert variable_name(" Nome-do  CLIENTE ") == "nome_do_cliente"


@pytest.mark.parametrize(
    "text", ["{{", "Oi {{nome", "{{}}", "{{a b!}}", "{{{{nome}}", "{{|x}}", "{{" + "n" * 65 + "}}"]
)
def test_a_text_with_broken_variables_is_refused(text: str) -> None:
    with pytest.raises(InvalidTemplate):
        TextTemplate.parse(text)


def test_a_files_caption_and_name_hold_variables_and_nothing_else_does() -> None:
    file = File(MessageKind.DOCUMENT, url="https://x.example/{{a}}", caption="Para {{nome}}", file_name="{{nome}}.pdf")
    made = MessageTemplate.parse(OutgoingMessage(file))
    assert made.needed == ("nome",)
    written = made.render({"nome": "Ana"}).content
    assert written == File(MessageKind.DOCUMENT, url="https://x.example/{{a}}", caption="Para Ana", file_name="Ana.pdf")
    assert letter("a{{b}}{{a}}").missing({"a": ""}) == ["a", "b"]


@given(st.text(alphabet="ab{}| ", max_size=30), st.text(max_size=10))
def test_any_text_is_read_or_refused_and_a_value_stays_as_it_is(text: str, value: str) -> None:
    try:
        template = TextTemplate.parse(text)
    except InvalidTemplate:
        return
    written = template.render(dict.fromkeys(template.needed, value or "x"))
    if not template.needed and "{{" not in text:
        assert written == text


# -- recipients ----------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(
    st.from_regex(r"(\+?55)?\(?[1-9][0-9]\)? ?9?[0-9]{4}[- ]?[0-9]{4}", fullmatch=True)
    | st.from_regex(r"'?\+?[0-9]{8,15}", fullmatch=True),
    st.sampled_from(["BR", "PT", "DE"]),
)
def test_the_quick_way_to_read_a_phone_finds_what_the_slow_one_finds(text: str, region: str) -> None:
    try:
        slow: str | None = parse_phone(text.removeprefix("'"), region)
    except InvalidPhone:
        slow = None
    assert parse_recipient_phone(text, region) == slow


def test_each_recipient_is_judged_once_and_told_why() -> None:
    given_ = [
        RecipientInput("(11) 99999-0001", {"nome": "Ana"}),
        RecipientInput("5511999990001", {"nome": "Ana de novo"}),
        RecipientInput("ninguém", {"nome": "Bia"}),
        RecipientInput("+5511999990002", {}),
        RecipientInput("+5511999990002", {"nome": "Caio"}),
        RecipientInput("1199990003", {"nome": "Davi"}),
    ]
    seen: set[str] = set()
    judged = check_recipients(given_, 7, letter(), seen, "BR")
    assert [(one.number, one.recipient, one.reason) for one in judged] == [
        (7, "+5511999990001", None),
        (8, "+5511999990001", "duplicate"),
        (9, "ninguém", "invalid_phone"),
        (10, "+5511999990002", "missing_variable"),
        (11, "+5511999990002", None),
        (12, "+5511999990003", None),
    ]
    assert judged[3].detail == "nome"
    assert (
        check_recipients([RecipientInput("11999990003", {"nome": "E"})], 13, letter(), seen, "BR")[0].reason
        == "duplicate"
    )
    tally = RecipientCounts()
    tally.add(judged, letter())
    assert (tally.received, tally.accepted, tally.skipped.total()) == (6, 3, 3)
    assert tally.previews[0] == ("****0001", "Olá Ana")
    assert [(one.number, one.recipient) for one in tally.examples] == [
        (8, "****0001"),
        (9, "ninguém"),
        (10, "****0002"),
    ]


def read_all(data: bytes, size: int, charset: str = "utf-8") -> list[RecipientInput]:
    reader = CsvReader(charset)
    found: list[RecipientInput] = []
    for at in range(0, len(data), size):
        found += reader.feed(data[at : at + size])
    return found + reader.end()


LIST = (
    "\ufeffNome do cliente;Telefone;Observação;\r\n"
    'Ana;11999990001;"diz ""oi""; e\nassina";\r\n'
    "\r\n"
    "José  ;'+5511999990002;;\r\n"
    "Bia"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_a_csv_reads_the_same_in_pieces_of_any_size(size: int) -> None:
    assert read_all(LIST.encode(), size) == [
        RecipientInput("11999990001", {"nome_do_cliente": "Ana", "observação": 'diz "oi"; e\nassina'}),
        RecipientInput("'+5511999990002", {"nome_do_cliente": "José"}),
        RecipientInput("", {"nome_do_cliente": "Bia"}),
    ]
    latin = LIST.removeprefix("\ufeff").encode("cp1252")
    assert read_all(latin, size, "windows-1252")[1].values == {"nome_do_cliente": "José"}
    assert read_all(b"to\n5511999990001\n", size) == [RecipientInput("5511999990001", {})]
    assert read_all(b'name,"a;b;c",to\nAna,x,1\n', size)[0].to == "1"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "line 1: the list is empty"),
        (b"\n\n", "line 1: the list is empty"),
        (b"name,celular\nAna,1\n", "line 1: the header has no column"),
        (b"to,Nome,nome\n", "line 1: column nome is there twice"),
        (b"to,name\n1,Ana\n2,Jos\xe9\n", "line 3: this is not utf-8"),
        (b"to,name\n1,Ana,x\n", "line 2: more cells than the header has columns"),
        (b'to,name\n1,Ana\n2,"Bia\n3,C\n', "line 3: unexpected end of data"),
        (b'to,name\n1,"Ana"x\n', "line 2: "),
        (b"to,name\n1," + b"x" * (LONGEST_VALUE + 1), "line 2, column name: longer than"),
        (b"to\n" + b"x" * 300_000, "line 2: it does not end"),
        (b'to\n1\n"' + b"x\n" * 200_000, "line 3: it does not end; is a quote opened"),
        (b"to" + b",a" * 60 + b"\n", "line 1: more than 50 columns"),
    ],
)
def test_a_broken_list_is_refused_and_the_line_is_named(data: bytes, said: str) -> None:
    with pytest.raises(InvalidRecipients, match=f"^{said}"):
        read_all(data, 4096)
    with pytest.raises(InvalidRecipients):
        CsvReader("utf-16")


def test_recipients_given_as_json_are_read_like_those_of_a_list() -> None:
    found = parse_json_recipients(
        [{"to": 5511999990001, "Nome": "Ana", "saldo": 1.5, "x": None, "y": ""}, {"telefone": "2"}]
    )
    assert found == [RecipientInput("5511999990001", {"nome": "Ana", "saldo": "1.5"}), RecipientInput("2", {})]
    with pytest.raises(InvalidRecipients, match="recipient 8: it has no"):
        parse_json_recipients([{"to": "1"}, {"nome": "Ana"}], 7)
    with pytest.raises(InvalidRecipients, match="recipient 1, nome: longer"):
        parse_json_recipients([{"to": "1", "nome": "x" * (LONGEST_VALUE + 1)}])


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=6), st.integers(1, 40))
def test_whatever_a_csv_writer_writes_is_read_back_whole(rows: list[tuple[str, str]], size: int) -> None:
    clean = [tuple(cell.replace("\0", "").replace("\r", "").strip() for cell in row) for row in rows]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("to", "v"), *clean])
    data = written.getvalue().encode("utf-8", "ignore")
    expected = [
        (a.encode("utf-8", "ignore").decode().strip(), b.encode("utf-8", "ignore").decode().strip()) for a, b in clean
    ]
    found = read_all(data, size)
    assert [(one.to, one.values.get("v", "")) for one in found] == [pair for pair in expected if any(pair)]


# -- states --------------------------------------------------------------------------------------------------


def test_what_is_asked_of_a_campaign_follows_the_table_and_may_be_repeated() -> None:
    s = CampaignState
    allowed = {
        CampaignCommand.START: {s.READY: s.RUNNING, s.RUNNING: None, s.SCHEDULED: None},
        CampaignCommand.PAUSE: {s.RUNNING: s.PAUSED, s.SCHEDULED: s.PAUSED, s.PAUSED: None},
        CampaignCommand.RESUME: {s.PAUSED: s.RUNNING, s.RUNNING: None, s.SCHEDULED: None},
        CampaignCommand.CANCEL: {
            s.READY: s.CANCELLED,
            s.RUNNING: s.CANCELLED,
            s.SCHEDULED: s.CANCELLED,
            s.PAUSED: s.CANCELLED,
        }
        | {s.CANCELLED: None},
        CampaignCommand.RETRY_FAILED: {s.RUNNING: s.RUNNING, s.PAUSED: s.PAUSED, s.DONE: s.RUNNING},
    }
    for ask in CampaignCommand:
        for state in s:
            if state in allowed[ask]:
                assert next_state(ask, state, None, 100.0) == allowed[ask][state]
            else:
                with pytest.raises(WrongCampaignState, match=state.value):
                    next_state(ask, state, None, 100.0)
    assert next_state(CampaignCommand.START, s.READY, 101.0, 100.0) is s.SCHEDULED
    assert next_state(CampaignCommand.RESUME, s.PAUSED, 99.0, 100.0) is s.RUNNING


# -- time ----------------------------------------------------------------------------------------------------


def at(text: str, zone: ZoneInfo = SAO_PAULO) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def test_a_window_and_the_units_night_both_hold() -> None:
    timing = CampaignTiming(None, time(9), time(18))
    pace = PaceLimits(SAO_PAULO, quiet=QuietHours(time(12), time(13, 30), SAO_PAULO))
    for now, opens in [
        ("2026-11-23T08:59:59", "2026-11-23T09:00"),
        ("2026-11-23T09:00", "2026-11-23T09:00"),
        ("2026-11-23T12:10", "2026-11-23T13:30"),
        ("2026-11-23T18:00", "2026-11-24T09:00"),
    ]:
        assert timing.opens_at(pace, at(now)) == at(opens)
    assert CampaignTiming(None, time(12, 10), time(13)).opens_at(pace, at("2026-11-23T08:00")) is None
    night = CampaignTiming(None, time(22), time(2))
    assert night.opens_at(PaceLimits(SAO_PAULO), at("2026-11-23T01:00")) == at("2026-11-23T01:00")
    assert night.window_opens_at(SAO_PAULO, at("2026-11-23T02:00")) == at("2026-11-23T22:00")
    # The clocks go forward at 2 in the night of March 8, 2026: a window from 2:30 opens at the change.
    spring = CampaignTiming(None, time(2, 30), time(5))
    assert spring.opens_at(PaceLimits(NEW_YORK), at("2026-03-08T00:00", NEW_YORK)) == at("2026-03-08T03:00", NEW_YORK)


def test_a_slow_campaign_lies_ready_in_ones_and_a_fast_one_in_hundreds() -> None:
    pace = PaceLimits(SAO_PAULO)
    assert CampaignTiming().queue_ahead(pace) == 10
    assert CampaignTiming(60.0).queue_ahead(pace) == 1
    assert CampaignTiming(1.0).queue_ahead(pace) == 10
    assert CampaignTiming().queue_ahead(PaceLimits(SAO_PAULO, campaign_seconds=0.001)) == 500
    assert CampaignTiming().due_at(5.0, 10.0, 0.5) == 10.0
    assert CampaignTiming(60.0).due_at(None, 10.0, 0.5) == 10.0
    assert [CampaignTiming(60.0).due_at(5.0, 10.0, spread) for spread in (0.0, 0.5, 1.0)] == [50.0, 65.0, 80.0]
    assert CampaignTiming(60.0).due_at(5.0, 500.0, 1.0) == 500.0


def test_the_end_is_told_from_pace_window_night_cap_and_ramp() -> None:
    start, pace = at("2026-11-23T08:00"), PaceLimits(SAO_PAULO)
    assert estimate_end(0, CampaignTiming(), pace, start) == start
    assert estimate_end(1, CampaignTiming(), pace, start) == start
    assert estimate_end(101, CampaignTiming(), pace, start) == start + 200
    assert estimate_end(101, CampaignTiming(10.0), pace, start) == start + 1000
    # A call a second at most, whatever the campaign wants.
    fast = PaceLimits(SAO_PAULO, campaign_seconds=0.01)
    assert estimate_end(61, CampaignTiming(), fast, start) == start + 60
    # An hour a day at one a minute: 60 on the first day, the 61st as the window opens again.
    hour = CampaignTiming(60.0, time(9), time(10))
    assert estimate_end(60, hour, pace, start) == at("2026-11-23T09:59")
    assert estimate_end(61, hour, pace, start) == at("2026-11-24T09:00")
    capped = PaceLimits(SAO_PAULO, daily_cap=100)
    assert estimate_end(250, CampaignTiming(), capped, start) == at("2026-11-25T00:00") + 49 * 2
    assert estimate_end(250, CampaignTiming(), capped, start, sent_today=90) == at("2026-11-26T00:00") + 39 * 2
    ramped = PaceLimits(SAO_PAULO, warm_up_first=10)
    assert estimate_end(30, CampaignTiming(), ramped, start) == at("2026-11-24T00:00") + 19 * 2
    assert estimate_end(31, CampaignTiming(), ramped, start) == at("2026-11-25T00:00")
    assert estimate_end(31, CampaignTiming(), ramped, start, 5, 5) == at("2026-11-25T00:00") + 5 * 2
    quiet = PaceLimits(SAO_PAULO, quiet=QuietHours(time(9), time(8), SAO_PAULO))
    assert estimate_end(1801, CampaignTiming(), quiet, start) == at("2026-11-24T08:00")
    never = PaceLimits(SAO_PAULO, quiet=QuietHours(time(9), time(18), SAO_PAULO))
    assert estimate_end(1, CampaignTiming(None, time(9), time(18)), never, start) is None
    assert estimate_end(100_000, CampaignTiming(), PaceLimits(SAO_PAULO, daily_cap=1), start) is None


def test_an_estimate_never_stands_still() -> None:
    chance = random.Random(7)
    for _ in range(150):
        hours = [time(chance.randrange(24), chance.choice((0, 30))) for _ in range(4)]
        zone = chance.choice((SAO_PAULO, NEW_YORK))
        pace = PaceLimits(
            zone,
            daily_cap=chance.choice((None, 3, 500)),
            warm_up_first=chance.choice((None, 1, 50)),
            quiet=chance.choice((None, QuietHours(hours[0], hours[1], zone))),
        )
        timing = CampaignTiming(chance.choice((None, 1.0, 90.0)), *chance.choice(((None, None), (hours[2], hours[3]))))
        start = at("2026-03-01T00:00", zone) + chance.random() * 1e7
        few, many = (estimate_end(count, timing, pace, start) for count in (1, 400))
        assert few is None or few >= start
        assert many is None or (few is not None and many > few)


def test_a_recipients_client_id_tells_campaign_number_and_chance() -> None:
    campaign = uuid4()
    assert campaign_client_id(campaign, 7, 2) == f"campaign:{campaign}:7:2"


def test_a_letter_is_bounded_before_it_is_written() -> None:
    letter = MessageTemplate.parse(OutgoingMessage(Text("{{a}}" * 10_000)))
    judged = check_recipients(
        [RecipientInput("+5511999990001", {"a": "x" * 1000}), RecipientInput("+5511999990002", {"a": "x"})],
        1,
        letter,
        set(),
        "BR",
    )
    assert [one.reason for one in judged] == ["too_long", None]
    with pytest.raises(InvalidTemplate, match="at most 50"):
        MessageTemplate.parse(OutgoingMessage(Text("".join(f"{{{{v{number}}}}}" for number in range(51)))))
    accents = "a" + "\u0301" * 200_000 + "\u0323" * 200_000
    assert len(variable_name(accents)) <= 256


def test_a_file_name_made_of_values_is_no_path() -> None:
    letter = MessageTemplate.parse(
        OutgoingMessage(File(MessageKind.DOCUMENT, url="https://example.com/a", file_name="{{n}}.pdf"))
    )
    written = letter.render({"n": "../../x\n"}).content
    assert isinstance(written, File)
    assert written.file_name == "_.._x_.pdf"
