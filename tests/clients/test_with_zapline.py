"""The clients, the phones and the examples against a whole Zapline: one, for all of these tests."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from pytest_zapline.http_calls import SandboxError, call, until
from pytest_zapline.sandbox import FAULTS, Sandbox
from zapline_client import AsyncZapline, Event, Unanswered, Zapline, ZaplineProblem, models

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples" / "python"))

from receiver import Inbox, Receiver  # noqa: E402 - an example, and no package

pytestmark = pytest.mark.long


@pytest.fixture
def client(zapline: Sandbox) -> Iterator[Zapline]:
    with Zapline(zapline.url, zapline.token) as made:
        yield made


class LostReplies(httpx2.HTTPTransport):
    """The network at its worst: the request arrives, the answer does not, as often as told."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left, self.bodies = times, list[bytes]()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.bodies.append(request.read())
        response = super().handle_request(request)
        if self.left:
            self.left -= 1
            response.read()
            response.close()
            raise httpx2.ReadError("the answer is lost", request=request)
        return response


def state(client: Zapline, unit: str, message: str, seconds: float = 20, **wanted: str) -> models.WatchedMessage:
    """Wait until a message stands so."""

    def found() -> models.WatchedMessage | None:
        told = client.api.get_message(unit, message)
        return told if all(told[name] == value for name, value in wanted.items()) else None  # type: ignore[literal-required]

    return until(found, f"a message with {wanted}", seconds)


def test_a_message_whose_answers_are_lost_is_sent_once(zapline: Sandbox) -> None:
    transport = LostReplies(2)
    with Zapline(zapline.url, zapline.token, transport=transport) as client:
        sent = client.send(zapline.unit, zapline.phone.number, "once")
        names = {json.loads(body)["clientMessageId"] for body in transport.bodies}
        assert names == {sent["clientMessageId"]}
        assert len(transport.bodies) == 3
        transport.left = 1
        with pytest.raises(Unanswered) as caught:
            client.api.test_hook(zapline.unit, sent["id"])
        assert not caught.value.safe_to_repeat
        again = client.send(zapline.unit, zapline.phone.number, "once", client_message_id=sent["clientMessageId"])
        assert again["id"] == sent["id"]
        zapline.phone.waits_for("once")
        state(client, zapline.unit, sent["id"], deliveryStatus="delivered")
        assert len(zapline.phone.messages()) == 1


def test_problems_and_lists_and_files_come_as_they_are(zapline: Sandbox, client: Zapline) -> None:
    with pytest.raises(ZaplineProblem) as caught:
        client.send(zapline.unit, "99999", "to nobody")
    assert (caught.value.status, caught.value.code, caught.value.retryable) == (422, "invalid_request", False)
    assert caught.value.errors[0]["field"] == "to"
    with pytest.raises(ZaplineProblem) as caught:
        client.api.get_unit("0b0e3c0e-8f0e-4c8e-9a66-2f6f0e1f6a11")
    assert caught.value.code == "unit_not_found"
    upload = client.api.upload(zapline.unit, b"%PDF-1.4", content_type="application/pdf")
    sent = client.send_message(
        zapline.unit, {"to": zapline.phone.number, "document": {"upload": upload["id"], "fileName": "offer.pdf"}}
    )
    zapline.phone.waits_for()
    assert state(client, zapline.unit, sent["id"], deliveryStatus="delivered")["kind"] == "document"
    phones = [zapline.new_phone() for _ in range(3)]
    for phone in phones:
        phone.writes("hello")
    numbers = {phone.number for phone in phones}

    def listed() -> bool:
        every = client.pages(client.api.list_conversations, zapline.unit, limit=2)
        return numbers <= {conversation["phone"] for conversation in every}

    until(listed, "the conversations on several pages", 20)
    assert client.api.health()["status"] in ("pass", "warn")


def test_the_client_that_blocks_looks_on_and_goes_on_where_it_was(zapline: Sandbox, client: Zapline) -> None:
    with client.events(zapline.unit) as events:
        hello = next(events)
        assert (hello.kind, hello.data["status"]["status"]) == ("hello", "connected")
    zapline.phone.writes("while nobody looked on")
    with client.events(zapline.unit, hello.id) as events:
        texts = (event.data["text"] for event in events if event.kind == "message")
        assert next(texts) == "while nobody looked on"
    with Zapline(zapline.url, "zl_" + "A" * 43) as stranger, stranger.events(zapline.unit) as events:
        with pytest.raises(ZaplineProblem) as caught:
            next(events)
        assert caught.value.code == "unauthorized"


async def test_the_asynchronous_client_sends_receives_and_looks_on_across_a_break(zapline: Sandbox) -> None:
    cut = CutStreams()
    with trio.fail_after(60):
        async with AsyncZapline(zapline.url, zapline.token, transport=cut) as client:
            seen: list[Event] = []
            async with client.events(zapline.unit) as events:
                async for event in events:
                    seen.append(event)
                    if event.kind == "hello" and len(seen) == 1:
                        zapline.phone.writes("first")
                    texts = [each.data["text"] for each in seen if each.kind == "message"]
                    if texts == ["first"] and not cut.broken:
                        cut.broken = True
                        zapline.phone.writes("second")
                    if texts == ["first", "second"]:
                        break
            assert cut.resumed_behind[0] is None
            assert cut.resumed_behind[1] is not None
            assert "reset" not in {event.kind for event in seen}
            last = next(event for event in reversed(seen) if event.kind == "message")
            arrived = [message async for message in client.messages_since(zapline.unit, last.data["seq"] - 1)]
            assert [message["text"] for message in arrived][:1] == ["second"]
            sent = await client.send(zapline.unit, zapline.phone.number, "third")
            await trio.to_thread.run_sync(zapline.phone.waits_for, "third")
            assert (await client.api.get_message(zapline.unit, sent["id"]))["id"] == sent["id"]


class CutStreams(httpx2.AsyncHTTPTransport):
    """Breaks the first stream as soon as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.resumed_behind: list[str | None] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if request.url.path.endswith("/events"):
            self.resumed_behind.append(request.headers.get("last-event-id"))
            if len(self.resumed_behind) == 1:
                inner = response.stream
                response.stream = _Cut(inner, lambda: self.broken)  # type: ignore[arg-type]
        return response


class _Cut(httpx2.AsyncByteStream):
    def __init__(self, inner: Any, broken: Callable[[], bool]) -> None:
        self._inner, self._broken = inner, broken

    async def __aiter__(self) -> Any:
        async for chunk in self._inner:
            if self._broken():
                raise httpx2.ReadError("cut")
            yield chunk
            if self._broken():
                raise httpx2.ReadError("cut")

    async def aclose(self) -> None:
        await self._inner.aclose()


# -- phones and faults -------------------------------------------------------------------------------------------


def test_a_silent_phone_gets_its_messages_when_it_comes_back_and_reads_them(zapline: Sandbox, client: Zapline) -> None:
    zapline.phone.goes_silent()
    sent = client.send(zapline.unit, zapline.phone.number, "are you there?")["id"]
    awake = zapline.new_phone()
    other = client.send(zapline.unit, awake.number, "and you?")["id"]
    state(client, zapline.unit, other, deliveryStatus="delivered")
    assert state(client, zapline.unit, sent, deliveryStatus="sent")["workState"] == "settled"
    with pytest.raises(SandboxError, match="silent"):
        zapline.phone.reads()
    zapline.phone.comes_back()
    state(client, zapline.unit, sent, deliveryStatus="delivered")
    zapline.phone.reads()
    state(client, zapline.unit, sent, deliveryStatus="read")


def test_phones_write_react_edit_delete_and_leave(zapline: Sandbox, client: Zapline) -> None:
    phone, start = zapline.phone, newest(client, zapline.unit)
    kept, taken = phone.writes("kept"), phone.writes("taken back")
    phone.reacts(kept, "👍")
    phone.edits(kept, "changed")
    phone.deletes(taken)
    phone.sends_image(b"\xff\xd8\xff", caption="look")
    zapline.line.writes(phone, "from the shop's own phone")

    def found() -> bool:
        told = {message["externalId"]: message for message in client.messages_since(zapline.unit, start)}
        texts = [message["text"] for message in told.values()]
        return (
            {"changed", "look", "from the shop's own phone"} <= set(texts)
            and told.get(taken, {}).get("deletedAt") is not None
            and [reaction["emoji"] for reaction in told[kept]["reactions"]] == ["👍"]
        )

    until(found, "all that the phones did", 20)


def newest(client: Zapline, unit: str) -> int:
    return max((message["seq"] for message in client.messages_since(unit)), default=0)


def arrived(client: Zapline, unit: str, start: int, count: int) -> list[models.Message]:
    def enough() -> list[models.Message] | None:
        found = list(client.messages_since(unit, start))
        return found if len(found) >= count else None

    return until(enough, f"{count} messages", 20)


def test_each_fault_shows_as_the_documentation_says_and_is_over_behind_its_block(
    zapline: Sandbox, client: Zapline
) -> None:
    def strikes() -> Counter[str]:
        return Counter(call("GET", f"{zapline.control_url}/struck"))

    unit, phone, line = zapline.unit, zapline.phone, zapline.line
    start, before = newest(client, unit), strikes()
    with zapline.fault("doubled"):
        phone.writes("twice told")
        phone.writes("twice told, too")
        arrived(client, unit, start, 2)
        phone.writes("and that was all")
        texts = [each["text"] for each in arrived(client, unit, start, 3)]
        assert sorted(texts) == ["and that was all", "twice told", "twice told, too"]
    assert strikes()["duplicate"] >= before["duplicate"] + 3
    start = newest(client, unit)
    with zapline.fault("late", seconds=0.3):
        for number in range(5):
            phone.writes(f"late {number}")
        arrived(client, unit, start, 5)
    phone.writes("and that was all")
    texts = [each["text"] for each in arrived(client, unit, start, 6)]
    assert sorted(texts) == ["and that was all", *(f"late {number}" for number in range(5))]
    assert strikes()["reorder"] >= before["reorder"] + 5
    with zapline.fault("uncertain"):
        sent = client.send(unit, phone.number, "did it arrive?")["id"]
        assert phone.waits_for("did it arrive?")
        state(client, unit, sent, workState="uncertain")
    assert strikes()["never_echo"] == before["never_echo"] + 1
    start = newest(client, unit)
    with zapline.fault("lost"):
        phone.writes("nobody is told")
        until(lambda: strikes()["webhooks_off"] > before["webhooks_off"], "a webhook that is not sent", 20)
        assert list(client.messages_since(unit, start)) == []
    phone.writes("told again")
    until(lambda: "told again" in {each["text"] for each in client.messages_since(unit, start)}, "the message", 20)
    with zapline.fault("banned"):
        assert line.status()["reason"] == "banned"
    assert line.status()["status"] == "connected"
    with zapline.fault("passkey"):
        assert line.status()["reason"] == "passkey_asked"
    assert line.status()["status"] == "connected"
    with pytest.raises(ValueError, match="there are late, doubled, lost"), zapline.fault("earthquake"):
        pass
    documented = (ROOT / "docs" / "clients.md").read_text()
    assert all(f"| `{name}`" in documented for name in FAULTS)


@pytest.mark.long
def test_what_is_sent_to_a_number_without_whatsapp_fails_and_says_so(zapline: Sandbox, client: Zapline) -> None:
    zapline.phone.leaves_whatsapp()
    sent = client.send(zapline.unit, zapline.phone.number, "are you gone?")["id"]
    failed = state(client, zapline.unit, sent, seconds=200, workState="dead")["failure"]
    assert failed is not None
    assert failed["code"] == "number_not_on_whatsapp"


@pytest.mark.long
def test_what_was_lost_is_read_back(zapline: Sandbox, client: Zapline) -> None:
    start = newest(client, zapline.unit)
    with zapline.fault("lost"):
        zapline.phone.writes("nobody is told")

    def found() -> bool:
        return any(
            each["text"] == "nobody is told" and each["backfilled"]
            for each in client.messages_since(zapline.unit, start)
        )

    until(found, "the lost message", 200)


@pytest.mark.long
def test_a_crm_integrates_two_units_by_one_key_one_hook_and_one_stream(zapline: Sandbox, tmp_path: Path) -> None:
    other = zapline.new_unit("Clínica Sul")
    admin = zapline.info["admin"]["token"]
    with Zapline(zapline.url, admin) as operator, Receiver(0) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        organization = operator.api.create_organization({"name": "Rede"})["id"]
        for unit in (zapline.unit, other.unit):
            operator.api.add_organization_unit(organization, unit)
        key = operator.api.mint_organization_token(
            organization, {"label": "CRM", "scopes": ["read", "send", "control"]}
        )
        with Zapline(zapline.url, key["token"]) as client:
            url = f"http://127.0.0.1:{receiver.server_port}/zapline"
            hook = client.api.create_organization_hook(organization, {"url": url})
            receiver.inbox = inbox = Inbox(str(tmp_path / "crm.db"), hook["secret"])
            path = "/organizations/{organization}/events"
            with client.stream(path, query={"events": "message.received"}, organization=organization) as events:
                assert next(events).kind == "hello"
                for sandbox in (zapline, other):
                    sandbox.phone.writes(f"I wrote to {sandbox.unit}")
                seen = [next(events), next(events)]
                told = {event.data["data"]["unitId"] for event in seen}
            assert told == {zapline.unit, other.unit}, seen
            wrote = "select count(*) from messages where text like 'I wrote to %'"
            until(lambda: inbox.rows(wrote) == [(2,)], "both units by one hook", 20)
            found = client.api.search_messages(other.unit, q="wrote")["items"]
            assert [each["text"] for each in found] == [f"I wrote to {other.unit}"]
            checked = client.api.check_numbers(other.unit, {"numbers": [other.phone.number]})["items"]
            assert [each["onWhatsapp"] for each in checked] == [True]
            file = other.phone.sends_image(b"\xff\xd8\xff\xe0")
            until(lambda: file in {each["externalId"] for each in client.messages_since(other.unit)}, "the file", 20)
            messages = {each["externalId"]: each for each in client.messages_since(other.unit)}
            assert client.api.get_media(other.unit, messages[file]["id"]) == b"\xff\xd8\xff\xe0"
            sent = client.send(other.unit, other.phone.number, "It is there.")
            other.phone.waits_for("It is there.")
            state(client, other.unit, sent["id"], deliveryStatus="delivered")
            client.api.delete_organization_hook(organization, hook["id"])
        receiver.shutdown()


# -- the examples ------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_examples_do_what_they_say(zapline_sandbox: Sandbox, tmp_path: Path) -> None:
    """As a CRM's developer runs them: with the client installed, whose plugin is found; on this test's Zapline."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    package = ROOT / "clients" / "python"
    subprocess.run([*install, "--disable-pip-version-check", "--target", str(tmp_path), str(package)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "ZAPLINE_SANDBOX": json.dumps(zapline_sandbox.info)}
    plain = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-p",
        "no:schemathesis",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:trio",
    ]
    command = [sys.executable, "-m", "pytest", *plain, "-c", os.devnull, "--rootdir", "."]
    ran = subprocess.run(
        [*command, "test_examples.py"],
        cwd=ROOT / "examples" / "python",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert "2 passed" in ran.stdout
