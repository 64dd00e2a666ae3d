"""Which numbers are on WhatsApp: asked for once, kept, paced, bounded by day; and the ninth digit of Brazil."""

from typing import Any

import msgspec
import pytest
import trio

from zapline.supervisors.directory.lookups import LookupsHeld
from zapline.supervisors.directory.number_checks import CheckPolicy, NumberChecks

PATH = "/units/{}/numbers/check"
THERE, OLD, NOBODY = "+5511999990001", "+5531988880002", "+5511977770003"


def asked(api: Any) -> list[tuple[str, ...]]:
    """The numbers of each question that WhatsApp got."""
    return [told for _, kind, told in api.evolution.ledger.questions if kind == "numbers"]


async def ask(api: Any, unit: Any, *numbers: str) -> Any:
    return await api.client.post(PATH.format(unit.id), content=msgspec.json.encode({"numbers": numbers}))


async def test_numbers_are_asked_for_once_and_told_with_the_id_that_whatsapp_has_for_them(api: Any) -> None:
    unit, other = await api.add_unit(), await api.add_unit()
    directory = api.evolution.numbers
    directory.missing.add(NOBODY[1:])
    refused = await ask(api, unit, THERE)
    assert (refused.status_code, refused.json()["code"]) == (409, "line_not_connected")
    await api.connect_line(unit)
    first = await ask(api, unit, "(11) 99999-0001", OLD, NOBODY, "99999-0001", THERE)
    assert first.status_code == 200, first.text
    items = first.json()["items"]
    assert [(item["phone"], item["onWhatsapp"], item["whatsappId"]) for item in items] == [
        (THERE, True, "5511999990001@s.whatsapp.net"),
        (OLD, True, "553188880002@s.whatsapp.net"),  # known there without its ninth digit
        (NOBODY, False, None),
        (None, None, None),
        (THERE, True, "5511999990001@s.whatsapp.net"),
    ]
    assert items[3]["error"].startswith("the area code is missing")
    assert [len(numbers) for numbers in asked(api)] == [3]
    again = (await ask(api, unit, "31 8888-0002", THERE, NOBODY)).json()["items"]
    assert [(item["phone"], item["checkedAt"]) for item in again] == [
        (item["phone"], item["checkedAt"]) for item in (items[1], items[0], items[2])
    ]
    assert len(asked(api)) == 1, "what is known is not asked for again"
    assert (await ask(api, other, THERE)).status_code == 409, "what one unit knows is not another's"

    # That somebody is not there is believed for hours, that he is there for days.
    directory.missing.clear()
    await api.sql("update zapline.number_checks set checked_at = now() - interval '7 hours' returning 1")
    later = (await ask(api, unit, THERE, NOBODY)).json()["items"]
    assert [item["onWhatsapp"] for item in later] == [True, True]
    assert asked(api)[1:] == [(NOBODY[1:],)]

    # Two who ask at once ask for each number once.
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask, api, unit, "+5511966660004")
    assert asked(api)[2:] == [("5511966660004",)]


async def test_who_asks_too_fast_or_for_too_many_a_day_is_told_when_to_come_again(api: Any) -> None:
    unit = await api.add_unit()
    await api.connect_line(unit)
    numbers = [f"+55119{number:08d}" for number in range(90_000_000, 90_000_130)]
    assert (await ask(api, unit, *numbers[:50])).status_code == 200
    held = await ask(api, unit, *numbers[50:100])
    assert (held.status_code, held.json()["code"], held.json()["retryable"]) == (429, "lookups_held", True)
    assert 50 < int(held.headers["retry-after"]) <= 101
    assert len(asked(api)) == 1, "nothing was asked"
    assert (await ask(api, unit, *numbers[:50])).status_code == 200, "what is known is told all the same"
    budget = "update zapline.number_check_budgets set "
    await api.sql(budget + "refilled_at = now() - interval '1 hour', asked = 960 returning 1")
    held = await ask(api, unit, *numbers[50:100])
    assert held.status_code == 429
    assert "40 more can be" in held.json()["detail"]
    assert int(held.headers["retry-after"]) <= 86_400
    assert (await ask(api, unit, *numbers[50:90])).status_code == 200
    await api.sql(budget + "refilled_at = now() - interval '1 hour', day = day - 1 returning 1")
    assert (await ask(api, unit, *numbers[90:])).status_code == 200, "a new day"
    await api.sql(budget + "refilled_at = now() + interval '1 hour', day = day + 1, tokens = 1 returning 1")
    assert (await ask(api, unit, "+5511955550001")).status_code == 200, (
        "a clock that went back fills and empties nothing"
    )
    (row,) = await api.sql("select tokens, asked, day > now()::date - 1 as later from zapline.number_check_budgets")
    assert (row.tokens, row.asked, row.later) == (0.0, 41, True)


async def test_what_has_no_time_left_to_be_asked_is_not_counted_as_asked(api: Any) -> None:
    unit = await api.add_unit()
    await api.connect_line(unit)
    checks = NumberChecks(api.engine_pool, api.groups._client, api.counters, CheckPolicy(deadline=1.0))
    held: list[LookupsHeld] = []

    async def check() -> None:
        with pytest.raises(LookupsHeld) as raised:
            await checks.check(unit, [THERE])
        held.append(raised.value)

    async with trio.open_nursery() as nursery, checks._turns.setdefault(unit.id, trio.Lock()):
        nursery.start_soon(check)
        await trio.sleep(0.8)  # more than half of its time
    assert len(held) == 1
    assert asked(api) == []
    assert await api.sql("select from zapline.number_check_budgets where asked > 0") == []


async def test_what_evolution_does_not_answer_is_told_and_can_be_asked_again(api: Any) -> None:
    unit = await api.add_unit()
    await api.connect_line(unit)
    api.evolution.numbers.unanswered.add(THERE[1:])
    failed = await ask(api, unit, THERE, OLD)
    assert (failed.status_code, failed.json()["code"], failed.json()["retryable"]) == (502, "evolution_failed", True)
    assert await api.sql("select 1 as one from zapline.number_checks") == []
    assert (await api.sql("select asked from zapline.number_check_budgets"))[0].asked == 2, "WhatsApp may have seen it"
    api.evolution.numbers.unanswered.clear()
    assert (await ask(api, unit, THERE, OLD)).status_code == 200
    for body, field in (({"numbers": []}, "numbers"), ({"numbers": ["1"] * 51}, "numbers"), ({}, "numbers")):
        answer = await api.client.post(PATH.format(unit.id), content=msgspec.json.encode(body))
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_a_list_leaves_out_who_is_not_on_whatsapp_as_far_as_it_may_ask(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/campaigns"
    numbers = [f"+55119{number:08d}" for number in range(90_000_000, 90_000_060)]
    recipients = [{"to": number, "nome": "Ana"} for number in numbers]
    plan = {"name": "a", "text": "oi {{nome}}", "recipients": recipients}
    away = await api.post(f"{path}/dry-run?checkNumbers=true", plan)
    assert (away["accepted"], away["unchecked"]) == (60, 60), "the line is away: nobody is left out for that"
    assert (await api.post(f"{path}/dry-run", plan))["unchecked"] is None
    await api.connect_line(unit)
    api.evolution.numbers.missing |= {numbers[0][1:], numbers[59][1:]}
    tried = await api.post(f"{path}/dry-run?checkNumbers=true", plan)
    assert (tried["accepted"], tried["skipped"], tried["unchecked"]) == (59, {"not_on_whatsapp": 1}, 10)
    assert [len(told) for told in asked(api)] == [50]
    campaign = await api.post(path, {"name": "a", "text": "oi {{nome}}"}, 201)
    more = f"{path}/{campaign['id']}/recipients?checkNumbers=true"
    forecast = await api.post(f"{more}&dryRun=true", {"recipients": recipients})
    assert (forecast["accepted"], forecast["unchecked"]) == (59, 10), "the pace lets nobody ask for ten more yet"
    await api.sql("update zapline.number_check_budgets set tokens = 50 returning 1")
    loaded = await api.post(more, {"recipients": recipients})
    assert (loaded["list"]["accepted"], loaded["list"]["skipped"], loaded["list"]["unchecked"]) == (
        58,
        {"not_on_whatsapp": 2},
        0,
    )
    assert sorted(map(len, asked(api))) == [10, 50]
