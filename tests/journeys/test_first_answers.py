"""A CRM that answers at once: its POSTs meet the first webhooks of their contacts, over real sockets."""

import json
import statistics
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import trio
from support.running_system import RunningSystem, running_system

from zapline.daemon.master_key import master_key, webhook_secret
from zapline.domain.ids import UnitId

MEETINGS, AT_ONCE = 2000, 4
CAMPAIGN = 400
"""Recipients of a campaign that goes to the same contacts meanwhile."""
NAME = "respostas"
LIMIT = 300.0
"""Seconds after which a run that hangs is ended."""


@pytest.fixture
def system() -> Iterator[RunningSystem]:
    with running_system() as opened:
        yield opened


class Caller:
    """One keep-alive connection; asks again where the answer says that it may be repeated."""

    def __init__(self, stream: trio.SocketStream, path: str, token: str = "") -> None:
        self._stream = stream
        bearer = f"Authorization: Bearer {token}\r\n" if token else ""
        self._head = f"POST {path} HTTP/1.1\r\nHost: zapline\r\nContent-Type: application/json\r\n{bearer}"
        self.seconds: list[float] = []

    async def post(self, document: dict[str, Any]) -> tuple[int, Any]:
        body = json.dumps(document).encode()
        began = time.perf_counter()
        await self._stream.send_all(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        received = b""
        while b"\r\n\r\n" not in received:
            received += await self._stream.receive_some()
        head, _, rest = received.partition(b"\r\n\r\n")
        [length] = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        while len(rest) < length:
            rest += await self._stream.receive_some()
        self.seconds.append(time.perf_counter() - began)
        return int(head.split()[1]), json.loads(rest)


def first_message(number: int) -> dict[str, Any]:
    key = {"remoteJid": f"55119{number:08}@s.whatsapp.net", "fromMe": False, "id": f"first-{number}"}
    data = {
        "key": key,
        "message": {"conversation": "SAIR" if number % 20 == 7 else "oi"},
        "messageType": "conversation",
        "pushName": "Maria",
    }
    return {"event": "messages.upsert", "instance": NAME, "data": data | {"messageTimestamp": int(time.time())}}


@pytest.mark.long
async def test_two_thousand_answers_meet_first_webhooks_opt_outs_and_a_campaign_and_postgresql_refuses_nothing(
    system: RunningSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = system.new_unit(NAME, NAME)
    system.allow_fast_sending(unit)
    hooked = "insert into zapline.hooks (id, unit_id, url, events) values (gen_random_uuid(), %s, %s, %s) returning id"
    system.rows(hooked, unit, "http://127.0.0.1:9/", ["message.received", "message.status"])
    recipients = [{"to": f"+55119{number:08}"} for number in range(CAMPAIGN)]
    campaign = {"clientCampaignId": "um", "name": "um", "text": "oferta", "recipients": recipients, "start": True}
    secret = webhook_secret(master_key(None, system.directory / "state"), UnitId(UUID(unit)), 1)
    token = system.http.headers["authorization"].removeprefix("Bearer ")
    hook, send = f"/webhooks/whatsapp/evolution/{secret}", f"/units/{unit}/messages"
    seconds: list[float] = []

    async def meet(lane: int) -> None:
        streams = [await trio.open_tcp_stream("127.0.0.1", system.port) for _ in range(3)]
        evolution, *bots = Caller(streams[0], hook), *(Caller(stream, send, token) for stream in streams[1:])
        for number in range(lane, MEETINGS, AT_ONCE):
            answers: list[tuple[int, Any]] = []
            answer = {"clientMessageId": f"c{number}", "to": f"+55119{number:08}", "text": "olá"}

            async def ask(caller: Caller, document: dict[str, Any], answers: list[tuple[int, Any]] = answers) -> None:
                answers.append(await caller.post(document))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(evolution.post, first_message(number))
                for bot in bots[: 1 + (number % 10 == 0)]:  # each tenth comes twice at once
                    nursery.start_soon(ask, bot, answer)
            assert {status for status, _ in answers} == {202}, answers
            assert len({document["id"] for _, document in answers}) == 1
        seconds.extend(bots[0].seconds)
        for stream in streams:
            await stream.aclose()

    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, system.call, "POST", f"/units/{unit}/campaigns", campaign)
            for lane in range(AT_ONCE):
                nursery.start_soon(meet, lane)
        stored = "select count(*) from zapline.messages where not from_me"
        while system.rows(stored) != [(MEETINGS,)]:  # noqa: ASYNC110 - another process stores them
            await trio.sleep(0.2)
    assert system.rows("select count(*) from zapline.messages where client_message_id ~ '^c[0-9]+$'") == [(MEETINGS,)]
    assert system.rows("select count(*) from zapline.suppressions") == [(MEETINGS // 20,)]
    for table in ("contacts", "conversations"):
        assert system.rows(f"select count(*) from zapline.{table}") == [(MEETINGS,)]
    assert system.rows("select count(*) from zapline.dead_letters") == [(0,)]
    assert system.rows("select deadlocks from pg_stat_database where datname = current_database()") == [(0,)]
    log = system.postgres.log_path.read_text(errors="replace").splitlines()
    assert [line for line in log if " ERROR: " in line or "deadlock" in line] == []
    cuts = statistics.quantiles(seconds, n=100)
    with capsys.disabled():
        print(f"\n{len(seconds)} answers: p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms")
