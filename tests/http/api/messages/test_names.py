"""How people and groups are called: the subject, the newest name, the username; and who is never meant."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

import zapline.sandbox

RECORDINGS = Path(zapline.sandbox.__file__).parent / "recordings"
PHONE, LID = "5511999990001@s.whatsapp.net", "111222333444555@lid"
GROUP = "120363400000000202@g.us"


def upsert(number: int, jid: str, name: str, **key: object) -> dict[str, object]:
    return {
        "key": {"remoteJid": jid, "fromMe": False, "id": f"3A{number:018}", **key},
        "pushName": name,
        "message": {"conversation": "oi"},
        "messageType": "conversation",
        "messageTimestamp": int(time.time()) - 600 + number,
    }


def member(number: int, name: str) -> dict[str, object]:
    lid, phone = f"21000000000000{number}@lid", f"551197777000{number}@s.whatsapp.net"
    return upsert(number, GROUP, name, participant=lid, participantAlt=phone, addressingMode="lid")


async def conversation(api: Any, unit: Any) -> Any:
    (only,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    return only


async def play(api: Any, unit: Any, name: str) -> None:
    """Send the recorded webhooks of a case, or one recorded body, one after the other."""
    (path,) = RECORDINGS.glob(f"{name}-*.json")
    told = json.loads(path.read_text())
    for webhook in told if isinstance(told, list) else [told]:
        await api.send(unit, webhook["event"], webhook["data"])


async def test_the_recorded_groups_contacts_and_usernames_are_called_as_they_are(api: Any, operator: Any) -> None:
    group, contact, hidden = [await api.add_unit() for _ in range(3)]
    await play(api, group, "cases/02")
    assert (await conversation(api, group))["name"] == "Clientes VIP 2026"
    await play(api, contact, "cases/22")
    assert (await conversation(api, contact))["name"] == "Ana Estética"
    for name in ("2026/17", "2026/18", "2026/07"):
        await play(api, hidden, name)
    only = await conversation(api, hidden)
    told = (only["phone"], only["lid"], only["name"], only["username"])
    assert told == (None, "111222333444555", "Maria Silva", "maria.silva")
    page = (await operator.get(f"/console/units/{hidden.id}/conversations")).text
    assert "Maria Silva" in page
    assert "@maria.silva" in page
    # Two names for one person: the pair of LID and phone makes them one conversation, and names the group beside it.
    await play(api, hidden, "2026/09")
    only = await conversation(api, hidden)
    assert (only["phone"], only["name"], only["username"]) == ("+5511999990001", "Maria Silva", "maria.silva")


async def test_who_is_called_how_depends_on_no_order_and_no_repetition(api: Any) -> None:
    """Each report with its own time: of Evolution in the envelope, of WhatsApp in a message."""
    started = int(time.time())
    reports = [
        ("messages.upsert", upsert(1, PHONE, "Zélia"), 0),
        ("contacts.update", [{"remoteJid": PHONE, "pushName": "Ana"}], -60),
        ("contacts.update", {"remoteJid": PHONE, "pushName": "Bia"}, -90),
        ("messages.upsert", member(2, "Carla"), 0),
        ("contacts.update", {"remoteJid": GROUP, "pushName": "Carla"}, -1),
        ("groups.update", [{"id": GROUP, "subject": "Clientes 2026"}], -50),
        ("groups.upsert", [{"id": GROUP, "subject": "Clientes"}], -80),
        ("contacts.upsert", [{"remoteJid": PHONE, "pushName": "Bia", "username": "bia"}], -70),
    ]
    for seed in range(4):
        unit = await api.add_unit()
        for event, data, age in random.Random(seed).sample(reports * 2, 2 * len(reports)):
            told_at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(started + age))
            await api.send(unit, event, data, date_time=told_at)
        called = {one["name"]: one["username"] for one in (await api.get(f"/units/{unit.id}/conversations"))["items"]}
        assert called == {"Ana": "bia", "Clientes 2026": None}, seed


async def test_a_group_is_called_by_its_subject_and_never_after_whoever_wrote_last(api: Any) -> None:
    unit = await api.add_unit()
    for number, name, event in ((1, "Ana Um", "contacts.upsert"), (2, "Beto Dois", "contacts.update")):
        await api.send(unit, "messages.upsert", member(number, name))
        await api.send(unit, event, {"remoteJid": GROUP, "pushName": name, "profilePicUrl": None})
        await api.send(unit, "chats.upsert", [{"remoteJid": GROUP, "name": name}])
    assert (await conversation(api, unit))["name"] is None
    subject = {"id": GROUP, "subject": "Clientes VIP", "size": 3, "participants": []}
    await api.send(unit, "groups.upsert", [subject])
    assert (await conversation(api, unit))["name"] == "Clientes VIP"
    await api.send(unit, "groups.update", [{"id": GROUP, "subject": "Clientes VIP 2026"}])
    await api.send(unit, "contacts.update", {"remoteJid": GROUP, "pushName": "Ana Um"})
    assert (await conversation(api, unit))["name"] == "Clientes VIP 2026"
    notice = {"messageStubType": 21, "messageStubParameters": ["Clientes"], "message": None}
    await api.send(unit, "messages.upsert", member(650, "Ana Um") | notice)
    assert (await conversation(api, unit))["name"] == "Clientes"


@pytest.mark.parametrize("event", ["contacts.upsert", "contacts.update", "chats.set"])
async def test_what_whatsapp_synchronises_carries_the_subject(api: Any, event: str) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", member(1, "Ana Um"))
    field = "name" if event == "chats.set" else "pushName"
    await api.send(unit, event, [{"remoteJid": GROUP, field: "Equipe Vendas"}])
    assert (await conversation(api, unit))["name"] == "Equipe Vendas"


async def test_a_contact_is_called_by_the_newest_name(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", upsert(1, PHONE, "Loja Exemplo", fromMe=True))
    await api.send(unit, "contacts.upsert", [{"remoteJid": PHONE, "pushName": "Zélia Salão"}])
    assert (await conversation(api, unit))["name"] == "Zélia Salão"
    await api.send(unit, "contacts.update", [{"remoteJid": PHONE, "pushName": "Ana Estética"}])
    assert (await conversation(api, unit))["name"] == "Ana Estética"
    await api.send(unit, "messages.upsert", upsert(2, PHONE, "Zélia de antes"))
    assert (await conversation(api, unit))["name"] == "Ana Estética"
    await api.send(unit, "messages.upsert", upsert(700, PHONE, "Ana"))
    assert (await conversation(api, unit))["name"] == "Ana"
    for name in ("Loja Exemplo", "Você", "5511999990001", ""):
        await api.send(unit, "contacts.update", {"remoteJid": PHONE, "pushName": name})
    await api.send(unit, "chats.upsert", [{"remoteJid": PHONE, "name": "Zé"}])
    assert (await conversation(api, unit))["name"] == "Ana"


async def test_the_newest_name_counts_under_both_addresses_of_a_person(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", upsert(1, PHONE, "Maria Souza"))
    await api.send(unit, "messages.upsert", upsert(2, LID, "Maria Silva"))
    await api.send(unit, "chats.set", [{"remoteJid": PHONE, "remoteLid": LID, "name": "Maria"}])
    only = await conversation(api, unit)
    assert (only["phone"], only["lid"], only["name"]) == ("+5511999990001", "111222333444555", "Maria Silva")


async def test_who_has_only_a_username_is_shown_and_found_by_it(api: Any, operator: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", upsert(1, LID, "", remoteJidUsername="maria.silva"))
    only = await conversation(api, unit)
    assert (only["phone"], only["name"], only["username"]) == (None, None, "maria.silva")
    page = f"/console/units/{unit.id}/conversations"
    for search in ("", "?q=%40maria.s", "?q=MARIA"):
        assert "@maria.silva" in (await operator.get(page + search)).text
    assert "@maria.silva" not in (await operator.get(page + "?q=joana")).text
    assert "@maria.silva" in (await operator.get(f"{page}/{only['id']}")).text
    await api.send(unit, "contacts.upsert", [{"remoteJid": LID, "pushName": "Maria Silva", "username": "@maria"}])
    only = await conversation(api, unit)
    assert (only["name"], only["username"]) == ("Maria Silva", "maria")
