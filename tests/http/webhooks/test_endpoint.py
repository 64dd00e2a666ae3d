"""The webhook endpoint over real sockets: always the same 200, and what became of each body."""

import json
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from support.inbound_stack import InboundStack, inbound_stack, text
from trio.testing import wait_all_tasks_blocked

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import UnitId
from zapline.http.server.serve import serve
from zapline.http.webhooks.body_budget import ByteBudget, ShareOfBody
from zapline.http.webhooks.endpoint import IntakePolicy, WebhookApp
from zapline.sql.postgres.connection import connect
from zapline.sql.units.units import rotate_secret
from zapline.supervisors.inbound import unrouted as unrouted_webhooks
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.inbound.unrouted import UnroutedWebhooks
from zapline.supervisors.units.webhook_authentication import digest_secret

LIMIT = 200_000


@dataclass
class Front:
    stack: InboundStack
    unit: Unit
    port: int
    app: WebhookApp
    unrouted: UnroutedWebhooks

    @property
    def secret(self) -> str:
        return str(self.unit.id)  # what tests.support.inbound_stack gives as the secret

    @property
    def path(self) -> str:
        return f"/webhooks/whatsapp/evolution/{self.secret}"

    async def post(self, path: str, body: bytes, *headers: str) -> tuple[int, bytes]:
        """Status and body of the answer."""
        with trio.fail_after(30):
            stream = await trio.open_tcp_stream("127.0.0.1", self.port)
            async with stream:
                lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
                await stream.send_all("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
                answer = b""
                while b"\r\n\r\n" not in answer or not (answer.endswith(b"}") or b"ength: 0" in answer):
                    chunk = await stream.receive_some()
                    if not chunk:
                        break
                    answer += chunk
        head, _, content = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), content

    def body(self, **changes: Any) -> bytes:
        payload = {"event": "messages.upsert", "instance": self.unit.record.instance, "data": text("A1"), **changes}
        return json.dumps({name: value for name, value in payload.items() if value is not ...}).encode()

    async def dead_letters(self) -> list[tuple[object, ...]]:
        await self.stack.wait_until_stored()
        return await self.stack.rows("select reason, size from zapline.dead_letters order by id")


@asynccontextmanager
async def open_front(
    database: str, directory: Path, *, unread: bool = False, unit: UnitId | None = None
) -> AsyncIterator[Front]:
    """``unread``: the units have not been read since the start, as while the database is away."""
    async with inbound_stack(database, directory) as stack:
        served = stack.unit(unit) if unit is not None else await stack.add_unit()
        find = stack.roster.webhook_authentication.find_owner
        unrouted = UnroutedWebhooks(stack.journal, stack.intake, stack.counters, find)
        if unread:
            stack.roster.apply([], stack.journal.journal_id)
        policy, proxies = IntakePolicy(LIMIT, 2 * LIMIT), [ip_network("127.0.0.0/8")]
        app = WebhookApp(
            stack.roster, stack.intake, stack.counters, policy, None, proxies, unrouted if unread else None
        )
        stop = trio.Event()
        async with trio.open_nursery() as nursery:

            async def run(task_status: trio.TaskStatus[list[str]]) -> None:
                await serve(app, ["127.0.0.1:0"], stop, 1.0, task_status=task_status)

            (address,) = await nursery.start(run)
            yield Front(stack, served, int(address.rpartition(":")[2]), app, unrouted)
            stop.set()


async def test_a_known_unit_with_its_secret_is_stored(database: str, tmp_path: Path) -> None:
    async with open_front(database, tmp_path) as front:
        assert await front.post(front.path, front.body()) == (200, b"{}")
        await front.stack.wait_until_stored()
        assert await front.stack.rows("select external_id from zapline.messages") == [("A1",)]


async def test_a_unit_that_another_process_has_made_is_read_before_its_webhook_is_refused(
    database: str, tmp_path: Path
) -> None:
    async with open_front(database, tmp_path) as front:
        reads = list[bool]()

        async def read_units() -> bool:
            """As where several processes share the units; the database is away at the first time."""
            reads.append(bool(reads))
            if reads[-1]:
                await front.stack.reload()
            return reads[-1]

        known = front.stack.roster.webhook_authentication
        known.update([])
        front.app._read_units = read_units
        assert await front.post(front.path, front.body()) == (503, b"")
        assert await front.post(front.path, front.body()) == (200, b"{}")
        assert await front.post(front.path, front.body(data=text("A2"))) == (200, b"{}")
        assert await front.post("/webhooks/whatsapp/waha/x", front.body()) == (200, b"{}")
        assert reads == [False, True]
        for _ in range(2):  # a stranger's is read for once in a while
            assert await front.post("/webhooks/whatsapp/evolution/another", front.body()) == (200, b"{}")
        assert reads == [False, True, True]
        assert len(front.app._refused) == 1
        await front.stack.wait_until_stored()
        rows = await front.stack.rows("select external_id from zapline.messages order by 1")
        assert rows == [("A1",), ("A2",)]
        assert front.stack.counters.total("webhooks_put_off") == 1


async def test_the_event_may_stand_in_the_path_and_the_secret_in_a_header(database: str, tmp_path: Path) -> None:
    async with open_front(database, tmp_path) as front:
        body = front.body(event=..., data=text("B1"))
        assert await front.post(f"{front.path}/messages-upsert", body) == (200, b"{}")
        body = front.body(event=..., data=text("B2"))
        bare = "/webhooks/whatsapp/evolution/messages-upsert"
        assert await front.post(bare, body, f"X-Zapline-Secret: {front.secret}") == (200, b"{}")
        await front.stack.wait_until_stored()
        rows = await front.stack.rows("select external_id from zapline.messages order by 1")
        assert rows == [("B1",), ("B2",)]


@pytest.mark.parametrize(
    ("provider", "secret", "instance", "counted"),
    [
        ("evolution", "wrong", "loja", "wrong_secret"),
        ("evolution", None, "another", "unknown_instance"),
        ("evolution", "wrong", "another", "unknown_instance"),
        ("waha", None, "loja", "unknown_provider"),
        ("evolution", "", "loja", "wrong_secret"),
        ("evolution", "%00%FF", "loja", "wrong_secret"),
    ],
)
async def test_who_is_not_trusted_gets_the_same_answer_is_counted_and_leaves_no_secret_in_the_log(
    database: str, tmp_path: Path, provider: str, secret: str | None, instance: str, counted: str
) -> None:
    async with open_front(database, tmp_path) as front:
        used = front.secret if secret is None else secret
        with structlog.testing.capture_logs() as lines:
            answer = await front.post(f"/webhooks/whatsapp/{provider}/{used}", front.body(instance=instance))
        assert answer == (200, b"{}")
        assert front.stack.counters.totals["refused_webhooks", counted] == 1
        assert front.stack.journal.statistics().appended == 0
        assert any(line.get("security") for line in lines)
        assert front.secret not in json.dumps(lines, default=str)


async def test_a_secret_of_one_unit_does_not_open_another(database: str, tmp_path: Path) -> None:
    async with open_front(database, tmp_path) as front:
        await front.stack.add_unit("clinica")
        assert await front.post(front.path, front.body(instance="clinica")) == (200, b"{}")
        assert front.stack.counters.totals["refused_webhooks", "secret_of_another_instance"] == 1
        assert front.stack.counters.total("unknown_instances") == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "invalid_json"),
        (b'{"event":"messages.upsert","instance":"loja","data":{"key":{"remoteJid":"5511', "invalid_json"),
        (b"[]", "not_an_object"),
        (b'{"event":"messages.upsert"}', "no_data"),
        (b"\xff\xfe\x00", "invalid_json"),
        (b'{"event":"foo.bar","instance":"loja","data":{}}', "unknown_event"),
    ],
)
async def test_what_a_known_unit_sends_and_cannot_be_used_is_a_dead_letter(
    database: str, tmp_path: Path, body: bytes, reason: str
) -> None:
    async with open_front(database, tmp_path) as front:
        assert await front.post(front.path, body) == (200, b"{}")
        assert await front.dead_letters() == [(reason, len(body))]
        assert front.stack.counters.total("webhook_errors") == 1


async def test_a_body_over_the_limit_is_drained_and_remembered_by_its_size(database: str, tmp_path: Path) -> None:
    async with open_front(database, tmp_path) as front:
        body = front.body(data={"x": "y" * (3 * LIMIT)})
        assert await front.post(front.path, body) == (200, b"{}")
        assert await front.dead_letters() == [("too_large", len(body))]
        assert await front.stack.rows("select raw from zapline.dead_letters") == [(None,)]
        assert await front.post("/webhooks/whatsapp/evolution/wrong", body) == (200, b"{}")
        assert len(await front.dead_letters()) == 1


async def test_guesses_are_answered_alike_and_only_some_are_logged(database: str, tmp_path: Path) -> None:
    async with open_front(database, tmp_path) as front:
        with structlog.testing.capture_logs() as lines:
            for number in range(60):
                answer = await front.post(f"/webhooks/whatsapp/evolution/guess-{number}", front.body())
                assert answer == (200, b"{}")
        assert front.stack.counters.total("refused_webhooks") == 60
        assert sum(1 for line in lines if line.get("security")) == 10
        assert front.stack.counters.total("security_events_unlogged") == 50


async def test_a_replaced_secret_is_valid_for_its_grace_and_the_token_is_not_stored(
    database: str, tmp_path: Path
) -> None:
    async with open_front(database, tmp_path) as front:
        async with await connect(database, role="zapline_engine") as conn:
            assert await rotate_secret(conn, front.unit.id, 2, digest_secret("fresh"), 30) is not None
        await front.stack.reload()
        await front.post(front.path, front.body(data=text("OLD"), apikey="INSTANCE-TOKEN-CANARY"))
        await front.post("/webhooks/whatsapp/evolution/fresh", front.body(data=text("NEW")))
        await front.stack.wait_until_stored()
        rows = await front.stack.rows("select external_id from zapline.messages order by 1")
        assert rows == [("NEW",), ("OLD",)]
        files = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]  # noqa: ASYNC240
        assert not any(b"INSTANCE-TOKEN-CANARY" in content for content in files)


async def test_other_methods_and_paths_are_no_webhooks(database: str, tmp_path: Path) -> None:
    async with open_front(database, tmp_path) as front:
        with trio.fail_after(30):
            for request, status in ((b"GET " + front.path.encode(), b" 405 "), (b"GET /units", b" 404 ")):
                stream = await trio.open_tcp_stream("127.0.0.1", front.port)
                async with stream:
                    await stream.send_all(request + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert status in await stream.receive_some()


@pytest.mark.parametrize("path", ["{secret}", "{secret}/messages-upsert", "/{secret}", "{secret}/evolution"])
async def test_a_secret_in_the_place_of_the_provider_never_reaches_the_log(
    database: str, tmp_path: Path, path: str
) -> None:
    async with open_front(database, tmp_path) as front:
        with structlog.testing.capture_logs() as lines:
            await front.post("/webhooks/whatsapp/" + path.format(secret=front.secret), front.body())
        assert [line["provider"] for line in lines if "provider" in line] == ["unknown"]
        output = json.dumps(lines, default=str)
        assert front.secret not in output
        assert front.secret[:12] not in output


async def test_a_name_with_braces_is_a_field_of_the_event_and_not_a_part_of_it(database: str, tmp_path: Path) -> None:
    async with open_front(database, tmp_path) as front:
        with structlog.testing.capture_logs() as lines:
            await front.post(front.path, front.body(instance="{url}"), "X-Forwarded-For: 203.0.113.7")
        said = [(line["event"], line["instance"]) for line in lines if "instance" in line]
        assert said == [
            ("Unknown instance: {instance}, provider: {provider}", "{url}"),
            ("Auth failed: Unknown instance: {instance}", "{url}"),
        ]
        assert [line["source"] for line in lines if line.get("security")] == ["203.0.113.7"]


@pytest.mark.parametrize(
    "path",
    ["//webhooks/whatsapp/evolution/{}", "/webhooks//whatsapp/evolution/{}/", "/webhooks/whatsapp/evolution//{}"],
)
async def test_doubled_slashes_do_not_cost_a_webhook(database: str, tmp_path: Path, path: str) -> None:
    async with open_front(database, tmp_path) as front:
        assert await front.post(path.format(front.secret), front.body()) == (200, b"{}")
        assert await front.post(path.format(front.secret) + "//messages-upsert", front.body(event=...)) == (200, b"{}")
        assert front.stack.counters.totals["webhooks_accepted", "messages.upsert"] == 2


async def test_a_path_is_unquoted_once(database: str, tmp_path: Path) -> None:
    async with open_front(database, tmp_path) as front:
        once, twice = (front.path.replace("-", dash) for dash in ("%2D", "%252D"))
        await front.post(once, front.body())
        await front.post(twice, front.body())
        assert front.stack.counters.total("webhooks_accepted") == 1
        assert front.stack.counters.totals["refused_webhooks", "wrong_secret"] == 1


async def test_slow_bodies_of_one_unit_delay_nobody_and_its_own_come_through_one_at_a_time(
    database: str, tmp_path: Path
) -> None:
    """A hundred bodies of one unit, of which all but the last byte has come: more than it may hold."""
    async with open_front(database, tmp_path) as front, AsyncExitStack() as slow:
        other = await front.stack.add_unit("clinica")
        budget = front.app._budget.small
        body = front.body(data=text("SLOW", "x" * 60_000))
        streams = []
        for _ in range(100):
            streams.append(await slow.enter_async_context(await trio.open_tcp_stream("127.0.0.1", front.port)))
            head = f"POST {front.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            await streams[-1].send_all(head + body[:-1])
        with trio.fail_after(30):
            while budget.waiting < 20:  # noqa: ASYNC110 - the budget tells nobody
                await trio.sleep(0.005)
        assert budget.free > 3_000_000
        path = f"/webhooks/whatsapp/evolution/{other.id}"
        large = text("L", "x" * 150_000)
        for data in (text("C"), large):
            payload = json.dumps({"event": "messages.upsert", "instance": "clinica", "data": data}).encode()
            assert await front.post(path, payload) == (200, b"{}")
        with trio.fail_after(30):
            for stream in streams:
                await stream.send_all(body[-1:])
            for stream in streams:
                assert b" 200 " in await stream.receive_some()
        assert (budget.free, budget.waiting, front.app._budget.large.free) == (128 * 65_536, 0, 2 * LIMIT)


async def test_what_neither_journal_nor_actor_takes_is_to_come_again(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(arrivals: Any, within: float) -> None:
        raise JournalRefused("planted")

    async with open_front(database, tmp_path) as front:
        monkeypatch.setattr(front.stack.journal, "append_many", refuse)
        front.unit.quarantined_at = 1.0
        assert (await front.post(front.path, front.body()))[0] == 503
        front.unit.quarantined_at = None
        assert (await front.post(front.path, front.body()))[0] == 200
        assert front.stack.counters.total("lost") == 0


async def test_a_length_that_is_only_announced_takes_no_room(database: str, tmp_path: Path) -> None:
    async with open_front(database, tmp_path) as front, AsyncExitStack() as announced:
        for length in (LIMIT, LIMIT, LIMIT, 10**15):
            stream = await announced.enter_async_context(await trio.open_tcp_stream("127.0.0.1", front.port))
            head = f"POST {front.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
            await stream.send_all(head.encode())
        large = front.body(data=text("L", "x" * 150_000))
        assert await front.post(front.path, large) == (200, b"{}")


@pytest.mark.parametrize("units", [1, 2, 5])
async def test_who_has_nothing_in_flight_always_finds_room_and_all_get_through(units: int) -> None:
    """What is in flight stays within the bound, but for one body at a time."""
    budget, stalled = ByteBudget(6000), trio.Event()

    async def arrive(unit: str) -> None:
        share = ShareOfBody(unit)
        for _ in range(10):
            await budget.take(share, 100)
            assert budget.free >= -1000
        await stalled.wait()
        budget.give_back(share)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for number in range(80):
                nursery.start_soon(arrive, f"unit {number % units}")
            await wait_all_tasks_blocked()
            assert budget.waiting > 0
            with trio.move_on_after(0) as given_up:  # whoever gives up while it waits holds nothing
                await budget.take(ShareOfBody("unit 0"), 100)
            assert given_up.cancelled_caught
            quiet = ShareOfBody("quiet")
            await budget.take(quiet, budget.free)
            budget.give_back(quiet)
            stalled.set()
    assert (budget.free, budget.waiting) == (6000, 0)


async def test_a_large_body_is_cleaned_in_a_thread_and_a_small_one_at_once(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def noting(body: bytes) -> bytes:
        threads.append(threading.get_ident() == threading.main_thread().ident)
        return body

    monkeypatch.setattr("zapline.supervisors.inbound.intake.strip_secrets", noting)
    async with open_front(database, tmp_path) as front:
        for size in (1000, 300_000):
            assert await front.stack.intake.accept(front.unit, "call", front.body(event="call", data="x" * size))
    assert threads == [True, False]


async def test_until_the_units_are_read_a_webhook_waits_on_disk_for_its_unit(database: str, tmp_path: Path) -> None:
    async with open_front(database, tmp_path, unread=True) as front:
        id = front.unit.id
        large = front.body(data=text("A2", "x" * 150_000))
        for body in (front.body(), large, front.body(instance=..., data=text("A3")), b"x" * (LIMIT + 1)):
            assert await front.post(front.path, body) == (200, b"{}")
        assert (await front.post("/webhooks/whatsapp/evolution/stranger", front.body(data=text("B"))))[0] == 200
        assert (await front.post("/webhooks/whatsapp/waha/x", front.body()))[0] == 200  # never ours, whoever we serve
        assert front.unrouted.waiting == 5
        assert front.stack.counters.total("unknown_instances") == 0
    # The process ends before the database is back, and is started again.
    async with open_front(database, tmp_path, unread=True, unit=id) as front:
        assert (await front.post(front.path, front.body(data=text("A4"))))[0] == 200
        await front.stack.reload()
        front.unrouted.units_loaded()
        with trio.fail_after(30):
            await front.unrouted.run()
        assert (await front.post(front.path, front.body(data=text("A5"))))[0] == 200
        assert await front.dead_letters() == [("too_large", LIMIT + 1)]
        rows = await front.stack.rows("select external_id from zapline.messages order by seq")
        assert rows == [("A1",), ("A2",), ("A3",), ("A4",), ("A5",)]
        assert front.stack.counters.totals["refused_webhooks", "wrong_secret"] == 1
        assert (await front.post("/webhooks/whatsapp/evolution/stranger", front.body()))[0] == 200
        assert (front.unrouted.waiting, front.stack.counters.total("unknown_instances")) == (0, 2)


async def test_whoever_stands_by_has_webhooks_come_again_and_keeps_none(database: str, tmp_path: Path) -> None:
    async with open_front(database, tmp_path) as front:
        front.app._stands_by = lambda: True
        assert (await front.post(front.path, front.body()))[0] == 503
        assert (await front.post("/webhooks/whatsapp/evolution/stranger", front.body()))[0] == 503
        assert front.stack.counters.totals["webhooks_put_off", "standby"] == 2
        assert front.stack.journal.statistics().depth == 0
        front.app._stands_by = lambda: False
        assert (await front.post(front.path, front.body()))[0] == 200


async def test_strangers_fill_a_bounded_room_while_the_units_are_unread_and_the_rest_is_to_come_again(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unrouted_webhooks, "MAX_BYTES", 3000)
    async with open_front(database, tmp_path, unread=True) as front:
        answers = [(await front.post(front.path, front.body(data=text("A", "x" * 500))))[0] for _ in range(6)]
        assert answers[0] == 200
        assert answers[-1] == 503
        assert front.stack.counters.totals["webhooks_put_off", "no_room"] == answers.count(503)
        assert front.unrouted.waiting == answers.count(200)
        id = front.unit.id
    async with open_front(database, tmp_path, unread=True, unit=id) as front:
        status, _ = await front.post(front.path, front.body(data=text("A", "x" * 2500)))
        assert status == 503
