"""Privacy over HTTP: a person known under many names is exported and erased in one unit, and nowhere else."""

import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import trio

from zapline.domain.messages.message_secrets import SecretSealer
from zapline.evolution.client.response_parser import MediaContent
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.directory.groups import Member, group_id, store_members
from zapline.sql.directory.number_checks import store_checks
from zapline.supervisors.clock_watch import ClockWatch
from zapline.supervisors.leadership import LeadershipStatus
from zapline.supervisors.operations import housekeeping

PHONE, OLD_PHONE, LID = "5511999990001", "551199990001", "111222333444555"
GROUP = "120363000000000001@g.us"
OTHER = "5511888880002"
NAMES = f"({PHONE}|{OLD_PHONE}|{LID})"
BEFORE = int(time.time()) - 3600


def text(external_id: str, words: str, jid: str, at: int = BEFORE, **key: object) -> dict[str, object]:
    return {
        "key": {"remoteJid": jid, "fromMe": False, "id": external_id, **key},
        "pushName": "Maria",
        "message": {"conversation": words},
        "messageType": "conversation",
        "messageTimestamp": at,
    }


def edited(external_id: str, words: str) -> dict[str, object]:
    return {
        "keyId": external_id,
        "remoteJid": f"{PHONE}@s.whatsapp.net",
        "fromMe": False,
        "message": {"editedMessage": {"message": {"conversation": words}}},
        "messageTimestamp": BEFORE,
    }


async def plant(api: Any, unit: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """A person under every spelling, through the whole chain; what was sent of him as (event, data)."""
    word = f"segredo-{unit.id}"
    picture = text("P1", "", f"{PHONE}@s.whatsapp.net") | {
        "message": {"imageMessage": {"mimetype": "image/png", "caption": word}},
        "messageType": "imageMessage",
    }
    reaction = {"key": {"id": "G2", "remoteJid": GROUP}, "text": "👍", "senderTimestampMs": str(BEFORE * 1000)}
    edit = {"secretEncType": 2, "targetMessageKey": {"id": "E0"}, "encPayload": "AAAA", "encIv": "AAAA"}
    secret = {"messageContextInfo": {"messageSecret": urlsafe_b64encode(bytes(32)).decode()}}
    sent: list[tuple[str, object]] = [
        ("messages.upsert", text("L1", f"{word} by lid", f"{LID}@lid")),
        ("messages.upsert", text("O1", f"{word} by the old spelling", f"{OLD_PHONE}@s.whatsapp.net")),
        ("messages.upsert", text("M1", word, f"{LID}@lid", remoteJidAlt=f"{PHONE}@s.whatsapp.net")),
        ("messages.upsert", picture),
        ("messages.upsert", text("G1", f"{word} in a group", GROUP, participant=f"{LID}@lid")),
        (
            "messages.upsert",
            text("R1", "", GROUP, participant=f"{PHONE}@s.whatsapp.net")
            | {"message": {"reactionMessage": reaction}, "messageType": "reactionMessage"},
        ),
        ("messages.upsert", text("M2", f"{word} pare", f"{PHONE}@s.whatsapp.net")),
        ("messages.upsert", text("E1", "", f"{LID}@lid") | {"message": {"secretEncryptedMessage": edit}}),
        ("messages.update", edited("U1", f"{word} of what never came")),
    ]
    for _, data in sent[:5]:
        data["message"] |= secret  # type: ignore[index]
    for event, data in sent:
        await api.send(unit, event, data)
    await api.send(
        unit, "messages.upsert", text("G2", f"ask @{PHONE} about it", GROUP, participant=f"{OTHER}@s.whatsapp.net")
    )
    await api.send(unit, "messages.update", edited("X1", f"{word} of what somebody else wrote"))
    await api.send(unit, "messages.upsert", text("X1", "of another", f"{OTHER}@s.whatsapp.net"))
    # Nobody knows whether he is the hidden one: what he says of that one's message waits.
    await api.send(unit, "messages.upsert", text("W1", "of somebody hidden", "777000777000777@lid"))
    await api.send(unit, "messages.upsert", text("W1", f"{word} under the same id", f"{PHONE}@s.whatsapp.net"))
    waits = {"reactionMessage": reaction | {"key": {"id": "W1"}}}
    await api.send(unit, "messages.upsert", text("W2", "", f"{PHONE}@s.whatsapp.net") | {"message": waits})
    await api.send(unit, "messages.upsert", f"no object but {PHONE}@s.whatsapp.net and {word}")
    await api.send(unit, "messages.upsert", "no object of anybody")
    base = f"/units/{unit.id}"
    await api.post(f"{base}/suppressions", {"to": f"+{PHONE}"}, 201)
    await api.post(f"{base}/messages", {"to": f"+{PHONE}", "text": f"{word} queued", "clientMessageId": "q"}, 202)
    plan = {"name": "Natal", "text": "Oi {{nome}}", "recipients": [{"to": f"+{OTHER}", "nome": "Rui"}]}
    await api.post(f"{base}/campaigns", plan, 201)
    async with api.engine_pool.connection() as conn:
        await conn.execute(
            "insert into zapline.campaign_recipients (campaign_id, number, unit_id, recipient, parameters)"
            " select id, 2, unit_id, %s, jsonb_build_object('nome', %s::text)"
            " from zapline.campaigns where unit_id = %s",
            (f"+{PHONE}", word, unit.id),
        )
        said = {f"+{PHONE}": (True, f"{OLD_PHONE}@s.whatsapp.net"), f"+{OTHER}": (False, None)}
        await store_checks(conn, unit.id, said, BEFORE)
        members = [Member(f"+{PHONE}", f"+{PHONE}", LID, "admin"), Member(f"+{OTHER}", f"+{OTHER}", None, "member")]
        await store_members(conn, unit.id, group_id(unit.id, GROUP), False, members, BEFORE)

    async def fetch_media(client: EvolutionClient, name: str, external_id: str) -> MediaContent:
        return MediaContent("image/png", "a.png", b"x" * 99)

    monkeypatch.setattr(EvolutionClient, "fetch_media", fetch_media)
    messages = (await api.get(f"{base}/messages", limit=200))["items"]
    (message_id,) = [message["id"] for message in messages if message["externalId"] == "P1"]
    assert (await api.client.get(f"{base}/messages/{message_id}/media")).status_code == 200
    return sent


async def holds(api: Any, unit: UUID) -> dict[str, int]:
    """Rows of a unit, by table, in any of whose columns the person's names or words stand."""
    tables = await api.sql(
        "select table_name as name, bool_or(column_name = 'raw') as raw from information_schema.columns"
        " where table_schema = 'zapline' and table_name not in ('audit_log')"
        " group by table_name having bool_or(column_name = 'unit_id')"
    )
    result = {}
    for table in tables:
        bodies = f" or encode(t.raw, 'escape') ~ '{NAMES}'" if table.raw else ""
        (row,) = await api.sql(
            f"select count(*) as rows from zapline.{table.name} t where t.unit_id = '{unit}'"
            f" and (t::text ~ '{NAMES}' or t::text ~ 'segredo-{unit}'{bodies})"
        )
        result[table.name] = row.rows
    return {name: rows for name, rows in result.items() if rows}


async def secrets(api: Any, unit: UUID) -> int:
    (row,) = await api.sql(f"select count(*) as kept from zapline.message_secrets where unit_id = '{unit}'")
    return int(row.kept)


def stored(api: Any, unit: UUID) -> Path:
    return Path(api.media_cache / sha256(f"{unit}\nP1".encode()).hexdigest())


def journal_bytes(api: Any) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(api.media_cache.parent.glob("journal/journal.db*")))


async def test_an_erased_person_is_gone_from_one_unit_and_does_not_come_back(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = await api.add_unit("mine"), await api.add_unit("theirs")
    sent = await plant(api, mine, monkeypatch)
    await plant(api, theirs, monkeypatch)
    before = await holds(api, theirs.id)
    assert set(await holds(api, mine.id)) == set(before)
    assert {"messages", "contacts", "contact_identities", "outbox", "suppressions", "dead_letters"} <= set(before)
    assert {"campaign_recipients", "message_reactions", "encrypted_reports", "parked_reports"} <= set(before)
    assert before["waiting_facts"] == 2
    assert await secrets(api, mine.id) == await secrets(api, theirs.id) == 5
    base = f"/units/{mine.id}/privacy"

    exported = msgspec.json.decode((await api.client.get(f"{base}/export", params={"phone": "11 9999-0001"})).content)
    assert set(exported["names"]) == {f"+{PHONE}", f"lid:{LID}"}
    assert {message["text"] for message in exported["messages"] if message["text"]} >= {f"segredo-{mine.id} queued"}
    assert len(exported["messages"]) == 7
    assert len(exported["deadLetters"]) == 2
    assert "of what somebody else wrote" in str(exported["deadLetters"])
    assert len(exported["reactions"]) == len(exported["suppressions"]) == len(exported["campaigns"]) == 1
    assert str(theirs.id) not in str(exported)

    requested = await api.post(f"{base}/erasures", {"phone": "+55 (11) 99999-0001"}, 202)
    done = await api.until(f"{base}/erasures/{requested['id']}", lambda job: job["state"] == "done")
    assert done["counts"]["messages"] == 7
    assert done["counts"]["journal"] >= 8
    assert done["counts"]["letters"] == 2
    assert done["counts"]["mentions"] == done["counts"]["suppressions"] == 1
    assert await holds(api, mine.id) == {}
    assert await holds(api, theirs.id) == before
    assert (await secrets(api, mine.id), await secrets(api, theirs.id)) == (0, 5)
    assert not stored(api, mine.id).exists()
    assert stored(api, theirs.id).exists()
    journal = journal_bytes(api)
    assert f"segredo-{mine.id}".encode() not in journal
    assert f"segredo-{theirs.id}".encode() in journal
    texts = [message["text"] for message in (await api.get(f"/units/{mine.id}/messages"))["items"]]
    assert texts == ["ask @**** about it", "of another", "of somebody hidden"]
    assert len((await api.get(f"/units/{mine.id}/dead-letters"))["items"]) == 1
    (campaign,) = (await api.get(f"/units/{mine.id}/campaigns"))["items"]
    assert (campaign["recipients"], campaign["skipped"]) == (2, {"erased": 1})
    (payload,) = await api.sql("select detail from zapline.audit_log where action = 'erase_person'")
    assert payload.detail["who"] == "****0001"

    await api.commands.replay(0.0)
    for event, data in sent:  # what Evolution repeats, or its store gives back
        await api.send(mine, event, data)
    assert await holds(api, mine.id) == {}
    # A stranger's report that had waited for its message is not set aside once more.
    assert await holds(api, theirs.id) == before
    assert await secrets(api, mine.id) == 0
    assert api.counters.totals["ignored", "erased"] >= len(sent)
    plan = {"name": "Outra", "text": "Oi", "recipients": [{"to": f"+{PHONE}"}, {"to": f"+{OTHER}"}]}
    again = await api.post(f"/units/{mine.id}/campaigns", plan, 201)
    assert again["skipped"] == {"opted_out": 1}
    await api.send(mine, "messages.upsert", text("N1", "sou novo", f"{PHONE}@s.whatsapp.net", int(time.time()) + 5))
    people = (await api.get(f"/units/{mine.id}/conversations"))["items"]
    assert f"+{PHONE}" in {person["phone"] for person in people}
    assert (await api.client.delete(f"/units/{mine.id}/suppressions/+{PHONE}")).status_code in (200, 204)


async def test_after_two_days_no_secret_of_a_message_is_left_but_that_of_a_poll(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit, chat = await api.add_unit(), f"{PHONE}@s.whatsapp.net"
    spelled = urlsafe_b64encode(b"the secret of one message only..").decode()
    secret = {"messageContextInfo": {"messageSecret": spelled}}
    poll = {"pollCreationMessageV3": {"name": "Vem?", "options": [{"optionName": "Sim"}]}, **secret}
    for id, message in (("S1", {"conversation": "oi"}), ("S2", {"messageOfTomorrow": {"a": 1}}), ("S3", poll)):
        await api.send(unit, "messages.upsert", text(id, "", chat) | {"message": message | secret})
    cut = msgspec.json.encode({"event": "messages.upsert", "data": {"message": secret}})[:-8]
    for body in (cut, cut.replace(b'"messageSecret":"', b'"messageSecret":{"data":"')):
        assert await api.intake.accept(unit, "messages.upsert", body)
    await api.stored()
    assert spelled[:-8].encode() in journal_bytes(api)
    assert await secrets(api, unit.id) == 3

    def moved() -> float:
        return time.time() + 48 * 3600

    monkeypatch.setattr(housekeeping, "_PRUNE_INTERVAL", 0.01)
    monkeypatch.setattr(housekeeping, "_OVERWRITE_INTERVAL", 0.0)
    clock = ClockWatch(wall=moved)
    clock.compare(moved(), trio.current_time())  # the database's clock has moved as well
    leading = SimpleNamespace(may_write_alone=trio.lowlevel.checkpoint, status=LeadershipStatus.LEADING, clock=clock)
    rounds = housekeeping.Housekeeping(
        *(api.engine_pool, api.journal, leading, api.commands, api.roster, api.counters),
        *(housekeeping.JournalLimits(24.0, 2**30), api.feed, SecretSealer(bytes(32))),
        _clock=moved,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rounds.run)
        with trio.fail_after(30):
            while await secrets(api, unit.id) > 1 or spelled[:-8].encode() in journal_bytes(api):  # noqa: ASYNC110
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert [row.external_id for row in await api.sql("select external_id from zapline.message_secrets")] == ["S3"]
    for table in await api.sql("select tablename as name from pg_tables where schemaname = 'zapline'"):
        for (row,) in await api.sql(f"select t::text from zapline.{table.name} t"):
            for form in (spelled[:-8], spelled[:-8].encode().hex(), b"the secret of one".hex()):
                assert form not in row, table.name
    await api.send(unit, "messages.delete", {"id": "S3", "remoteJid": chat, "fromMe": False})
    assert await secrets(api, unit.id) == 0


async def test_a_file_that_is_on_its_way_is_not_kept(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = await api.add_unit()
    base = f"/units/{unit.id}"
    picture = text("P1", "", f"{PHONE}@s.whatsapp.net") | {
        "message": {"imageMessage": {"mimetype": "image/png"}},
        "messageType": "imageMessage",
    }
    await api.send(unit, "messages.upsert", picture)
    (message,) = (await api.get(f"{base}/messages"))["items"]
    requested, go = trio.Event(), trio.Event()

    async def fetch_media(client: EvolutionClient, name: str, external_id: str) -> MediaContent:
        requested.set()
        await go.wait()
        return MediaContent("image/png", "a.png", b"x" * 99)

    monkeypatch.setattr(EvolutionClient, "fetch_media", fetch_media)

    async def look() -> None:
        assert (await api.client.get(f"{base}/messages/{message['id']}/media")).content == b"x" * 99

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await requested.wait()
        job = await api.post(f"{base}/privacy/erasures", {"phone": f"+{PHONE}"}, 202)
        await api.until(f"{base}/privacy/erasures/{job['id']}", lambda job: job["state"] == "done")
        go.set()
    assert not stored(api, unit.id).exists()


async def test_who_is_to_be_erased_is_named_rightly(api: Any) -> None:
    unit = await api.add_unit()
    base = f"/units/{unit.id}/privacy"
    for body in ({}, {"phone": "12"}, {"phone": f"+{PHONE}", "contactId": str(uuid4())}):
        assert (await api.post(f"{base}/erasures", body, 422))["errors"][0]["field"] == "phone"
    assert (await api.post(f"{base}/erasures", {"contactId": str(uuid4())}, 404))["code"] == "contact_not_found"
    assert (await api.get(f"{base}/erasures/{uuid4()}", 404))["code"] == "erasure_not_found"
    assert (await api.get(f"{base}/export", 422))["errors"][0]["field"] == "phone"
    assert (await api.get(f"{base}/export", 404, contactId=uuid4()))["code"] == "contact_not_found"
    for path in ("erasures", f"export?phone=+{PHONE}"):
        assert (await api.get(f"/units/{uuid4()}/privacy/{path}", 404))["code"] == "unit_not_found"
    first = await api.post(f"{base}/erasures", {"phone": f"+{PHONE}"}, 202)
    await api.until(f"{base}/erasures/{first['id']}", lambda job: job["state"] == "done")
    second = await api.post(f"{base}/erasures", {"phone": f"lid:{LID}"}, 202)
    page = await api.get(f"{base}/erasures", limit=1)
    rest = await api.get(f"{base}/erasures", limit=1, cursor=page["nextCursor"])
    assert [page["items"][0]["id"], rest["items"][0]["id"]] == [second["id"], first["id"]]
    forged = urlsafe_b64encode(f'["e",1e300,"{uuid4()}"]'.encode()).rstrip(b"=").decode()
    assert (await api.get(f"{base}/erasures", 422, cursor=forged))["errors"][0]["field"] == "cursor"
    await api.send(unit, "messages.upsert", text("A1", "R$ 5", f"{OTHER}@s.whatsapp.net"))
    short = await api.post(f"{base}/erasures", {"phone": "lid:5"}, 202)
    done = await api.until(f"{base}/erasures/{short['id']}", lambda job: job["state"] == "done")
    assert not done["counts"]
    (conversation,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    requested = await api.post(f"{base}/erasures", {"contactId": conversation["id"]}, 202)
    done = await api.until(f"{base}/erasures/{requested['id']}", lambda job: job["state"] == "done")
    assert (done["counts"]["messages"], done["counts"]["contacts"]) == (1, 1)

    # Only the members of a group tell whose phone a LID is.
    group = group_id(unit.id, GROUP)
    await api.send(unit, "messages.upsert", text("A2", "no grupo", GROUP, participant="5511777770003@s.whatsapp.net"))
    async with api.engine_pool.connection() as conn:
        members = [Member(f"+{PHONE}", f"+{PHONE}", LID, "admin"), Member(f"+{OTHER}", f"+{OTHER}", None, "member")]
        await store_members(conn, unit.id, group, False, members, BEFORE)
        await store_checks(conn, unit.id, {f"+{PHONE}": (True, None), f"+{OTHER}": (True, None)}, BEFORE)
    exported = await api.get(f"{base}/export", phone=f"lid:{LID}")
    assert [found["role"] for found in exported["groups"]] == ["admin"]
    assert [found["phone"] for found in exported["numberChecks"]] == [f"+{PHONE}"]
    requested = await api.post(f"{base}/erasures", {"phone": f"lid:{LID}"}, 202)
    done = await api.until(f"{base}/erasures/{requested['id']}", lambda job: job["state"] == "done")
    assert (done["counts"]["memberships"], done["counts"]["checks"]) == (1, 1)
    left = "select canonical from zapline.group_members union all select phone from zapline.number_checks"
    assert [tuple(row) for row in await api.sql(left)] == [(f"+{OTHER}",)] * 2


async def test_an_erasure_waits_for_a_call_that_is_under_way(api: Any) -> None:
    unit = await api.add_unit()
    base = f"/units/{unit.id}"
    await api.post(f"{base}/messages", {"to": f"+{PHONE}", "text": "oi", "clientMessageId": "a"}, 202)
    await api.sql("update zapline.outbox set state = 'leased' returning message_id")
    requested = await api.post(f"{base}/privacy/erasures", {"phone": f"+{PHONE}"}, 202)
    path = f"{base}/privacy/erasures/{requested['id']}"
    waiting = await api.until(path, lambda job: job["waitsFor"] == "call")
    assert waiting["state"] == "running"
    assert (await api.post(f"{base}/privacy/erasures", {"phone": f"+{PHONE}"}, 202))["id"] == requested["id"]
    plan = {"name": "Natal", "text": "Oi", "recipients": [{"to": f"+{PHONE}"}, {"to": f"+{OTHER}"}]}
    await api.post(f"{base}/campaigns", plan, 201)
    await api.sql("update zapline.outbox set state = 'settled' returning message_id")
    with trio.fail_after(30):
        done = await api.until(path, lambda job: job["state"] == "done")
    assert done["counts"]["messages"] == 1
    listing = await api.sql("select recipient, state, reason from zapline.campaign_recipients order by number")
    assert [tuple(row) for row in listing] == [("erased:1", "skipped", "erased"), (f"+{OTHER}", "pending", None)]
