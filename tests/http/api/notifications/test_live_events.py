"""Live events over real sockets: what a client sees, how it resumes, and how a stream ends."""

import socket
import tracemalloc
from functools import partial
from itertools import count, cycle, islice
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import trio
from support.event_stream import watching, watching_path
from support.people import add_person, cookie_of

from zapline.domain.principals import Role
from zapline.http.api.notifications import live_events as streaming
from zapline.http.server.serve import ServerLimits, serve
from zapline.supervisors.notifications.live_feed import EventKind

HELD_BY_ONE_STREAM = 2 * 2**20
"""Bytes: the ring, a piece in hand, and what the server holds until the socket takes it, all of them below 64 KiB."""
PHONE, LID = "5511999990001@s.whatsapp.net", "111222333444555@lid"


async def test_a_stream_begins_with_how_the_line_stands_and_tells_its_changes_and_resumes(api: Any) -> None:
    unit = await api.add_unit()
    other = await api.add_unit("Outra")
    async with watching(api, unit) as stream:
        kind, data = await stream.next()
        assert (kind, data["unitId"], data["status"]["status"]) == ("hello", str(unit.id), "disconnected")
        assert data["qr"] == {"unitId": str(unit.id), "available": False, "qrUpdatedAt": None, "qrExpiresAt": None}
        start = stream.last_id
        await api.send(other, "connection.update", {"instance": other.record.instance, "state": "connecting"})
        await api.post(f"/units/{unit.id}/whatsapp/connect", {}, 202)
        seen = []
        while not seen or seen[-1][0] != "qr":
            seen.append(await stream.next())
        assert {kind for kind, _ in seen} == {"status", "qr"}
        assert all(data["unitId"] == str(unit.id) for _, data in seen)
        assert seen[-1][1]["available"]
        assert seen[-1][1]["qrExpiresAt"] > seen[-1][1]["qrUpdatedAt"]
        assert "qrCode" not in seen[-1][1]
        last = stream.last_id
    for resumed in ({"last_id": start}, {"lastEventId": start}):
        async with watching(api, unit, **resumed) as again:
            assert (await again.next())[0] == "hello"
            assert [await again.next() for _ in seen] == seen
            assert again.last_id == last
    async with watching(api, unit, "another-process-7") as stream:
        assert (await stream.next())[0] == "hello"
        assert await stream.next() == ("reset", {"reason": "unknown"})


async def test_messages_their_deliveries_and_campaigns_are_told(api: Any) -> None:
    unit = await api.add_unit()
    base = f"/units/{unit.id}"
    async with watching(api, unit) as stream:
        await stream.next()
        await api.send(unit, "messages.upsert", _message("A1", PHONE))
        kind, came = await stream.next()
        (stored,) = (await api.get(f"{base}/messages"))["items"]
        assert kind == "message"
        assert {name: came[name] for name in stored.keys() & came.keys()} == {
            name: stored[name] for name in stored.keys() & came.keys()
        }
        assert (came["phone"], came["text"], came["senderName"]) == ("+5511999990001", "oi", "Maria")
        # A LID that is known to be the phone: the conversation is the phone's.
        await api.send(unit, "messages.upsert", _message("A2", PHONE, senderLid=LID))
        await stream.next()
        await api.send(unit, "messages.upsert", _message("A3", LID))
        kind, by_lid = await stream.next()
        assert (kind, by_lid["externalId"], by_lid["conversationId"]) == ("message", "A3", came["conversationId"])
        await api.send(unit, "messages.upsert", _message("A4", PHONE, fromMe=True))
        kind, written = await stream.next()
        assert (kind, written["externalId"], written["fromMe"]) == ("message", "A4", True)
        status = {"keyId": "A4", "remoteJid": PHONE, "fromMe": True, "status": "READ", "messageId": "x"}
        await api.send(unit, "messages.update", status)
        kind, payload = await stream.next()
        assert (kind, payload["messageId"], payload["deliveryStatus"]) == ("delivery", written["id"], "read")

        sent = await api.post(
            f"{base}/messages", {"to": "+5511999990001", "text": "ja vai", "clientMessageId": "c"}, 202
        )
        kind, queued = await stream.next()
        assert (kind, queued["id"], queued["clientMessageId"], queued["workState"]) == (
            *("message", sent["id"], "c", "queued"),
        )
        assert queued["conversationId"] == came["conversationId"]
        await api.post(f"{base}/messages/{sent['id']}/cancel")
        kind, payload = await stream.next()
        assert (kind, payload["workState"], payload["deliveryStatus"]) == ("delivery", "cancelled", "failed")

        plan = {
            "name": "Natal",
            "text": "oi",
            "recipients": [{"to": "+5511999990007"}],
            "startAt": "2099-01-01T12:00:00Z",
        }
        created = await api.post(f"{base}/campaigns", plan, 201)
        kind, payload = await stream.next()
        assert (kind, payload["campaignId"], payload["state"], payload["counts"]) == (
            "campaign",
            created["id"],
            "ready",
            {"pending": 1},
        )
        await api.post(f"{base}/campaigns/{created['id']}/cancel")
        kind, payload = await stream.next()
        assert (kind, payload["state"], payload["counts"]) == ("campaign", "cancelled", {"cancelled": 1})


def _message(id: str, jid: str, **key: object) -> dict[str, object]:
    return {
        "key": {"remoteJid": jid, "fromMe": False, "id": id, **key},
        "pushName": "Maria",
        "message": {"conversation": "oi"},
        "messageType": "conversation",
        "messageTimestamp": 1_795_364_451,
    }


async def test_streams_end_with_the_token_with_the_unit_and_with_the_process(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "RECHECK_ACCESS", 0.05)
    monkeypatch.setattr(streaming, "HEARTBEAT", 0.1)
    unit = await api.add_unit()
    async with watching(api, unit) as stream:
        await stream.next()
        await api.commands.archive_unit(unit.id)
        await stream.ends()
    unit = await api.add_unit()
    async with watching(api, unit) as stream:
        await stream.next()
        await require_codes(api, "admin")  # its person has none
        await stream.ends()
    await api.sql("delete from zapline.second_factor_roles returning 1")
    api.identity.invalidate_cache()
    async with watching(api, unit) as stream:
        await stream.next()
        api.feed.close()
        await stream.ends()
    api.feed.closed = False
    monkeypatch.setattr(streaming, "RECHECK_ACCESS", 60.0)  # no need to ask: it is known at once
    async with watching(api, unit) as stream:
        await stream.next()
        await api.post("/admin/logout", expect=204)
        await stream.ends()
    with trio.fail_after(30):
        while api.feed.statistics().watchers:  # noqa: ASYNC110 - it asks as a scrape would
            await trio.sleep(0.01)


async def test_only_so_many_look_on_at_one_unit_and_only_at_units_that_are(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = await api.add_unit()
    with trio.fail_after(30):
        head = await api.client.head(f"/units/{unit.id}/events")
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert api.streams.count == 0
    monkeypatch.setattr(api.streams, "_max_per_unit", 1)
    async with watching(api, unit) as stream:
        await stream.next()
        refused = await api.get(f"/units/{unit.id}/events", 429)
        assert (refused["code"], refused["retryable"]) == ("too_many_streams", True)
        monkeypatch.setattr(api.streams, "_max_total", 1)
        other = await api.add_unit("Outra")
        refused = await api.get(f"/units/{other.id}/events", 503)
        assert refused["code"] == "too_many_streams_in_all"
        monkeypatch.setattr(api.streams, "_max_total", 1000)
    monkeypatch.setattr(api.streams, "_max_per_person", 1)
    monkeypatch.setattr(streaming, "HEARTBEAT", 0.1)
    bia, caio = [await cookie_of(api, await add_person(api, f"{name}@example.com", Role.ATTENDANT)) for name in "bc"]
    path = "/console/events"
    async with watching_path(api, path, bia) as first, watching_path(api, path, caio) as second:
        for stream in (first, second):
            await stream.next()
        assert (await api.client.get(path, headers=bia)).status_code == 429, "each person has streams of his own"
        await require_codes(api, "attendant")
        for stream in (first, second):
            await stream.ends()
    assert (await api.get(f"/units/{uuid4()}/events", 404))["code"] == "unit_not_found"


async def require_codes(api: Any, role: str) -> None:
    """As *People* requires a second factor of a role."""
    await api.sql(f"insert into zapline.second_factor_roles values ('{role}') returning 1")
    api.identity.invalidate_cache()


async def test_a_client_that_never_reads_costs_bounded_memory_and_is_dropped(api: Any) -> None:
    """Its socket holds what the kernel gives it; the stream waits with one piece in hand, then it is cut."""
    unit, stop = await api.add_unit(), trio.Event()
    limits = ServerLimits(write_seconds=1.0)
    async with trio.open_nursery() as nursery:
        serving = partial(serve, api.front, ["127.0.0.1:0"], stop, 1.0, limits=limits)
        (url,) = await nursery.start(serving)
        await _watch_deaf(api, unit, url)
        stop.set()


async def _watch_deaf(api: Any, unit: Any, url: str) -> None:
    place = urlsplit(url)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((place.hostname, place.port))
        head = f"GET /units/{unit.id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n\r\n"
        deaf.sendall(head.encode())
        with trio.fail_after(30):
            while not api.feed.statistics().watchers:  # noqa: ASYNC110 - it asks as a scrape would
                await trio.sleep(0.01)
        texts = (f"{number:016}" * 1000 for number in count())
        grown = published = 0
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            with trio.fail_after(60):
                # Much more than a ring holds, and then as much as it holds at a time, so that the socket fills.
                for size in cycle((1000, 3, 3, 3, 3)):
                    for text in islice(texts, size):
                        api.feed.publish(unit.id, EventKind.MESSAGE, partial(str, text))
                        published += len(text)
                    grown = max(grown, tracemalloc.get_traced_memory()[0] - before)
                    await trio.sleep(0.1)
                    if not api.feed.statistics().watchers:
                        break
        finally:
            tracemalloc.stop()
    assert published > 4 * HELD_BY_ONE_STREAM
    assert grown < HELD_BY_ONE_STREAM
