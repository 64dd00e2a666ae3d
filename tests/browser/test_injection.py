"""Hostile texts through every input: nothing runs, no other row changes, no log line or formula is forged."""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from support.browser_visitor import BrowserThread, Visitor
from support.console_crawler import crawl, kind_of
from support.hostile_requests import hostile_requests
from support.hostile_texts import CORPUS, TEXTS, THREAD_PHONES, attack, fingerprint
from support.page_inspection import PHONE, page_faults, visible_text
from support.running_system import RunningSystem, wait_until

INSTANCE = "hostile"
EXCLUDED = {"login", "logout", "disconnect", "watch_unit"}
"""Operations that end the session or the line that other requests need, or that never end."""
LABELS = [CORPUS["scripts"][0], CORPUS["scripts"][35], CORPUS["odd"][0].encode(errors="replace").decode()]
_CONTROLS = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
"""Control characters in UTF-8, except for the end of a line."""


@dataclass
class Attacked:
    unit: str
    neighbour: str
    before: dict[str, str | None]


@pytest.fixture(scope="module")
def attacked(system: RunningSystem) -> Attacked:
    """A unit that received all hostile texts, and a neighbour that received one message."""
    neighbour = system.new_unit("Vizinha", "neighbour")
    unit = system.new_unit(CORPUS["scripts"][2], INSTANCE)
    system.control("receive", instance="neighbour", text="bom dia", sender="5511999980001")
    wait_until(lambda: system.call("GET", f"/units/{neighbour}/conversations")["items"], 10, "the neighbour's message")
    before = fingerprint(system, neighbour)
    attack(system, INSTANCE)
    wait_until(
        lambda: system.rows("select 1 from zapline.messages where unit_id = %s and external_id = 'LAST'", unit),
        60,
        "the end of the attack",
    )
    return Attacked(unit, neighbour, before)


def test_what_strangers_write_touches_no_other_row(system: RunningSystem, attacked: Attacked) -> None:
    assert fingerprint(system, attacked.neighbour) == attacked.before
    bodies = system.rows("select count(distinct body) from zapline.messages where unit_id = %s", attacked.unit)
    assert bodies[0][0] >= len(TEXTS)
    assert system.status(attacked.unit)["status"] == "connected"


def test_what_callers_send_is_taken_or_refused_and_touches_no_other_row(
    system: RunningSystem, attacked: Attacked
) -> None:
    document = system.call("GET", "/openapi.json")
    ids = known_ids(system, attacked.unit)
    calls = list(hostile_requests(document, ids, EXCLUDED))
    assert len({(call.operation, call.where) for call in calls}) > 10
    wrong = []
    for call in calls:
        answer = call.make(system.http)
        if answer.status_code >= 500:
            wrong.append(f"{call.operation} {call.where} {call.text[:60]!r}: {answer.status_code} {answer.text[:300]}")
        kind = answer.headers.get("content-type", "")
        assert kind.partition(";")[0] in ("application/json", "application/problem+json", "text/csv", ""), kind
    assert not wrong, "\n".join(wrong)
    assert system.status(attacked.unit)["status"] == "connected"
    assert fingerprint(system, attacked.neighbour) == attacked.before


def test_no_cell_of_an_export_is_a_formula(system: RunningSystem, attacked: Attacked) -> None:
    path = f"/units/{attacked.unit}/campaigns"
    campaign = system.call("POST", path, {"name": "=1+1", "text": "Oi {{nome}}"})["id"]
    columns = [text for text in CORPUS["formulas"] if "\n" not in text and "\r" not in text]
    for head in ["nome", *columns]:
        rows = [["to", "nome", head], *([text, text, text] for text in TEXTS), ["11 99999-0001", "", columns[0]]]
        answer = system.http.post(
            f"{path}/{campaign}/recipients", content=csv_of(rows), headers={"content-type": "text/csv"}
        )
        assert answer.status_code in (200, 422), answer.text
    listed = [{"to": text, text: text, "nome": text} for text in TEXTS if text.isprintable()]
    system.http.post(f"{path}/{campaign}/recipients", json={"recipients": listed})
    exported = system.http.get(f"{path}/{campaign}/failures.csv")
    assert "attachment" in exported.headers["content-disposition"]
    cells = [cell for row in csv.reader(io.StringIO(exported.content.decode(), newline="")) for cell in row]
    assert sum("f01" in cell for cell in cells) >= 2
    assert [cell for cell in cells if is_formula(cell)] == []


def csv_of(rows: list[list[str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode(errors="replace")


def is_formula(cell: str) -> bool:
    """Whether any spreadsheet might compute the cell: some skip invisible characters in front."""
    stripped = cell.lstrip("\ufeff\u200b\xa0 \t\r\n\0")
    return cell[:1] in ("\t", "\r", "\n") or stripped[:1] in tuple("=+-@＝＋－＠")


@pytest.mark.long
def test_no_page_takes_a_text_for_code(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem, attacked: Attacked
) -> None:
    for text in LABELS:
        if text.isprintable():
            system.call("POST", f"/units/{attacked.unit}/tokens", {"label": text, "scopes": ["read"]})
        campaign: Any = {"name": text, "text": "Oi {{nome}}", "recipients": [{"to": text, "nome": text}]}
        system.call("POST", f"/units/{attacked.unit}/campaigns", campaign)
        message = {"clientMessageId": text if text.isprintable() else "odd", "to": "5511999970001", "text": text}
        system.call("POST", f"/units/{attacked.unit}/messages", message)
    visitor = signed_in_visitor(viewport=PHONE, locale="pt-BR")
    wrong, texts, kinds = list[str](), set[str](), set[str]()

    def check(path: str) -> None:
        texts.update(
            (visible_text(visitor.page.inner_text("body")), visible_text(" ".join(visitor.page.evaluate(_VALUES))))
        )
        wrong.extend(f"{path}: {sentence}" for sentence in [*page_faults(visitor, colors=False), *visitor.troubles])
        visitor.troubles.clear()

    with visitor.expecting("Failed to load resource"):  # pictures of hostile messages, which do not exist
        for path in crawl(visitor, f"/console/units/{attacked.unit}", lambda kind: 1):
            kinds.add(kind_of(path))
            assert visitor.page.locator("html").get_attribute("lang") == "pt-BR"
            check(path)
        for thread in system.rows(_THREADS, attacked.unit, f"+{THREAD_PHONES}__"):
            visitor.go(f"/console/units/{attacked.unit}/conversations/{thread[0]}")
            check(str(thread[0]))
        visitor.go("/console/about")  # away from pages that still load files
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:40])
    assert len(kinds) > 20, sorted(kinds)
    everything = "\n".join(texts)
    missing = [text for text in TEXTS if visible_text(text)[:60] not in everything]
    assert not missing, missing


_THREADS = """select c.id from zapline.conversations c join zapline.contacts p on p.id = c.contact_id
 where c.unit_id = %s and p.phone like %s and c.merged_into is null"""
_VALUES = "[...document.querySelectorAll('input, textarea')].map(field => field.value)"


def test_no_log_line_is_forged(system: RunningSystem, attacked: Attacked) -> None:
    for line in system.log.read_bytes().split(b"\n")[:-1]:
        assert not _CONTROLS.search(line), line[:500]
        record = json.loads(line)
        assert {"ts", "level", "scope", "event"} <= set(record), line[:500]
        assert record["scope"] != "Forged", line[:500]


def known_ids(system: RunningSystem, unit: str) -> dict[str, str]:
    """Real ids for the paths of requests, so that a hostile body gets as far as possible."""
    thread = system.call("GET", f"/units/{unit}/conversations?limit=1")["items"][0]["id"]
    message = system.call("GET", f"/units/{unit}/messages?afterSeq=0&limit=1")["items"][0]["id"]
    recipients = [{"to": "11 99999-0001", "nome": "Ana"}]
    campaign = system.call(
        "POST", f"/units/{unit}/campaigns", {"name": "Natal", "text": "Oi", "recipients": recipients}
    )
    letters = system.call("GET", f"/dead-letters?unitId={unit}&limit=1")["items"]
    return {
        "unit": unit,
        "conversation": thread,
        "message": message,
        "campaign": campaign["id"],
        "letter": str(letters[0]["id"]) if letters else "1",
        "contact": "+5511999990001",
    }
