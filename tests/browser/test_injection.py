"""Hostile texts by every way in: nothing runs, nothing leaks into another row, a log line or a spreadsheet."""

import json
import re
from dataclasses import dataclass

import pytest
from support.hostile import TEXTS, attack, fingerprint
from support.whole_house import WholeHouse, wait_until

INSTANCE = "hostile"
_RAW = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
"""Control characters as they stand in UTF-8, but for the end of a line."""


@dataclass
class Attacked:
    unit: str
    neighbour: str
    before: dict[str, str | None]


@pytest.fixture(scope="module")
def attacked(house: WholeHouse) -> Attacked:
    """A unit that had all of it, and one beside it that had a single message."""
    neighbour = house.new_unit("Vizinha", "neighbour")
    unit = house.new_unit("Alvo", INSTANCE)
    house.control("receive", instance="neighbour", text="bom dia", sender="5511999980001")
    wait_until(lambda: house.call("GET", f"/units/{neighbour}/conversations")["items"], 10, "the neighbour's message")
    before = fingerprint(house, neighbour)
    attack(house, INSTANCE)
    wait_until(
        lambda: house.rows("select 1 from zapline.messages where unit_id = %s and external_id = 'LAST'", unit),
        60,
        "the end of the attack",
    )
    return Attacked(unit, neighbour, before)


def test_what_strangers_write_touches_no_other_row(house: WholeHouse, attacked: Attacked) -> None:
    assert fingerprint(house, attacked.neighbour) == attacked.before
    bodies = house.rows("select count(distinct body) from zapline.messages where unit_id = %s", attacked.unit)
    assert bodies[0][0] >= len(TEXTS)
    assert house.status(attacked.unit)["status"] == "connected"


def test_no_log_line_is_forged(house: WholeHouse, attacked: Attacked) -> None:
    for line in house.log.read_bytes().split(b"\n")[:-1]:
        assert not _RAW.search(line), line[:500]
        told = json.loads(line)
        assert {"ts", "level", "scope", "event"} <= set(told), line[:500]
        assert told["scope"] != "Forged", line[:500]
