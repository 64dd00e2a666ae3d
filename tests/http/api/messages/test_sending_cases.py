"""Public cases of sending, played to the whole daemon: API, hook, live events and console end as they demand."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from support.changes_of_messages import play_changes
from support.crm_receiver import CrmReceiver, crm_receiver
from support.daemon_in_process import WholeDaemon, daemon_in_process
from support.event_stream import Stream, watching

import zapline.sandbox
from zapline.domain.outbox.failure_texts import failure_text

CASES = Path(zapline.sandbox.__file__).parent / "recordings" / "cases"
Steps = list[dict[str, Any]]


def steps(name: str) -> Steps:
    found: Steps = json.loads((CASES / f"{name}.json").read_text())["steps"]
    return found


class Case:
    """A unit to which a case is played, and what is told of it."""

    def __init__(self, whole: WholeDaemon, unit: str, name: str, crm: CrmReceiver, stream: Stream) -> None:
        self.whole, self.unit, self.name = whole, unit, name
        self._crm, self._stream = crm, stream
        self.events: list[tuple[str, Any]] = []

    async def gather(self) -> None:
        with suppress(trio.TooSlowError):  # what is missing is found where it is looked for
            while True:
                self.events.append(await self._stream.next())

    def hooked(self, kind: str) -> list[Any]:
        """What the CRM was told by webhooks of this kind, in order."""
        calls = [call.payload for call in self._crm.calls_to(f"/{self.unit}")]
        return [call["data"] for call in calls if call["type"] == kind]

    def watched(self, kind: str) -> list[Any]:
        return [data for found, data in self.events if found == kind]

    async def thread(self, contact: str) -> list[Any]:
        """The messages of a contact's conversation; none where there is no such contact."""
        listed = (await self.whole.get(f"/units/{self.unit}/conversations"))["items"]
        for one in listed:
            if contact in (one["contact"], one["phone"], f"lid:{one['lid']}"):
                path = f"/units/{self.unit}/conversations/{one['id']}/messages"
                return list((await self.whole.get(path))["items"])
        return []

    async def console(self, conversation: str) -> str:
        """What an operator reads in a thread."""
        page = await self.whole.operator.get(f"/console/units/{self.unit}/conversations/{conversation}/part")
        return page.visible_text

    async def message(self, **wanted: Any) -> Any:
        """Wait until the message of the case that was sent last is so, and return it."""
        path = f"/units/{self.unit}/messages?afterSeq=0"

        def is_so(page: Any) -> bool:
            ours = [one for one in page["items"] if one["clientMessageId"]]
            return bool(ours) and {**ours[-1], **wanted} == ours[-1]

        page = await self.whole.until(path, is_so)
        return [one for one in page["items"] if one["clientMessageId"]][-1]


@asynccontextmanager
async def case(whole: WholeDaemon, crm: CrmReceiver, name: str, **options: Any) -> AsyncIterator[Case]:
    unit = await whole.add_unit(name, **options)
    await whole.post(f"/units/{unit}/hooks", {"url": f"{crm.url}/{unit}"}, 201)

    class Watched:
        id = unit

    async with watching(whole, Watched) as stream, trio.open_nursery() as nursery:
        played = Case(whole, unit, name, crm, stream)
        nursery.start_soon(played.gather)
        yield played
        nursery.cancel_scope.cancel()


async def until(condition: Any, what: Any) -> None:
    with trio.move_on_after(15):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.02)
        return
    raise AssertionError(what())


def texts(messages: Sequence[Any]) -> list[str]:
    return sorted(str(one["text"]) for one in messages)


class Poller:
    """A CRM that polls, and keeps messages as docs/api.md tells."""

    def __init__(self, played: Case) -> None:
        self._played = played
        self._after = 0
        self.messages: dict[str, Any] = {}

    async def poll(self) -> None:
        page = await self._played.whole.get(f"/units/{self._played.unit}/messages?afterSeq={self._after}")
        self._after = page["nextAfterSeq"]
        for one in (*page["items"], *page["changed"]):
            same = [id for id, kept in self.messages.items() if kept["externalId"] == one["externalId"] is not None]
            for id in same:
                del self.messages[id]
            self.messages[one["id"]] = one


def kept_by_hooks(played: Case) -> list[str]:
    """The texts that a CRM shows that goes by what hooks tell, beside what it has sent itself."""
    gone = {one["messageId"] for one in played.hooked("message.deleted")}
    told = [*played.hooked("message.received"), *played.hooked("message.sent")]
    return texts([one for one in told if one["id"] not in gone])


def kept_by_watchers(played: Case) -> list[str]:
    gone = {one["messageId"] for one in played.watched("delivery") if one["deleted"]}
    return texts([one for one in played.watched("message") if one["id"] not in gone])


async def play_06(whole: WholeDaemon, crm: CrmReceiver) -> None:
    """The answer is lost and the echo comes under the LID: one row, delivered, in one thread."""
    said = ["Manda o boleto?", "Recebi", "Segue o boleto (caso 6)."]
    async with case(whole, crm, "caso06") as played:
        poller = Poller(played)

        async def told_of_the_echo() -> None:
            # Nobody knows yet that the LID is his: the echo seems to come from the phone, and is told so.
            await until(lambda: played.hooked("message.sent"), lambda: played.events)
            await poller.poll()
            assert len(poller.messages) == 3

        async def one_in_one_thread() -> None:
            message = await played.message(deliveryStatus="delivered", workState="settled", failure=None)
            for name in ("+5511977770007", "lid:210000000000007"):
                messages = await played.thread(name)
                assert texts(messages) == said, messages
            everything = (await whole.get(f"/units/{played.unit}/messages?afterSeq=0"))["items"]
            assert texts(everything) == said
            assert (await played.console(message["conversationId"])).count(said[2]) == 1
            await poller.poll()
            assert texts([*poller.messages.values()]) == said
            await until(lambda: kept_by_hooks(played) == said[:2], lambda: kept_by_hooks(played))
            # Its own message is told to watchers as one that the API was asked to send.
            await until(lambda: kept_by_watchers(played) == said, lambda: played.events)
            for told in (played.hooked("message.deleted"), played.watched("delivery")):
                assert [one["replacedBy"] for one in told if one["deleted"]] == [message["id"]]

        looks = [told_of_the_echo, one_in_one_thread]
        await whole.play(played.unit, played.name, steps("06-lost-answer-lid-echo"), looks)
    assert [sent.text for sent in whole.evolution.ledger.messages if sent.instance == "caso06"] == [said[2]]


async def play_07(whole: WholeDaemon, crm: CrmReceiver, code: int | None) -> None:
    """WhatsApp refuses after the 201: failed, with a reason that a person understands."""
    reason = "whatsapp_refused" if code is None else f"whatsapp_refused_{code}"
    sentence = failure_text(reason)
    async with case(whole, crm, f"caso07-{code}") as played:
        whole.evolution.inject_fault("refused_later", instance=played.name, path="/message/", count=1, status=code)

        async def refused() -> None:
            message = await played.message(deliveryStatus="failed", workState="settled")
            assert (message["failure"]["code"], message["failure"]["sentence"]) == (reason, sentence)
            (shown,) = await played.thread("+5511977770008")
            assert shown["failure"] == message["failure"]
            assert sentence in await played.console(message["conversationId"])
            await until(
                lambda: (
                    [one["failure"] for one in played.hooked("message.delivery")][-1:] == [message["failure"]["code"]]
                ),
                lambda: played.hooked("message.delivery"),
            )
            await until(
                lambda: any(one.get("failure") == reason for one in played.watched("delivery")),
                lambda: played.events,
            )

        await whole.play(played.unit, played.name, steps("07-error-463"), [refused])
        await whole.control("habits", statuses=["SERVER_ACK", "DELIVERY_ACK"])
    assert [sent for sent in whole.evolution.ledger.messages if sent.instance == played.name] == []


async def play_08(whole: WholeDaemon, crm: CrmReceiver) -> None:
    """A person with a hidden number is answered at ...@lid; a server that cannot do it is named as the reason."""
    lid = "lid:210000000000009"
    async with case(whole, crm, "caso08") as played:

        async def heard() -> None:
            (message,) = (await whole.until(f"/units/{played.unit}/messages?afterSeq=0", lambda page: page["items"]))[
                "items"
            ]
            assert (message["text"], message["senderName"]) == ("Oi, vim do Instagram", "Usuária Oito")

        await whole.play(played.unit, played.name, steps("08-lid-only-reply"), [heard])
        [heard_of] = await played.thread(lid)
        said = {"conversationId": heard_of["conversationId"], "text": "Oi! Como ajudo?"}
        answer = {"clientMessageId": "resposta-1", **said}
        await whole.post(f"/units/{played.unit}/messages", answer, 202)
        message = await played.message(workState="dead")
        assert message["failure"]["code"] == "hidden_number"
        assert "Nothing is wrong with the number" in message["failure"]["sentence"]
        assert message["failure"]["sentence"] in await played.console(message["conversationId"])
        await until(
            lambda: [one["failure"] for one in played.hooked("message.delivery")][-1:] == [message["failure"]["code"]],
            lambda: played.hooked("message.delivery"),
        )
        # With a server that can do it, it is sent to the LID.
        await whole.control("phones", missing=[])
        await whole.post(f"/units/{played.unit}/messages", answer | {"clientMessageId": "resposta-2"}, 202)
        await played.message(clientMessageId="resposta-2", deliveryStatus="delivered")
        assert len(await played.thread(lid)) == 3
    sent = [(each.number, each.text) for each in whole.evolution.ledger.messages if each.instance == "caso08"]
    assert sent == [("210000000000009@lid", answer["text"])]


async def play_21(whole: WholeDaemon, crm: CrmReceiver) -> None:
    """A pairing code that is asked for while a QR code is shown comes within seconds."""
    async with case(whole, crm, "caso21", connected=False) as played:
        status = f"/units/{played.unit}/whatsapp/status"

        async def a_qr_code() -> None:
            shown = await whole.until(status, lambda shown: shown["reason"] == "waiting_scan")
            assert shown["pairingCode"] is None

        async def a_pairing_code() -> None:
            shown = await whole.until(status, lambda shown: shown["pairingCode"])
            assert shown["status"] == "connecting"
            page = await whole.operator.get(f"/console/units/{played.unit}")
            assert shown["pairingCode"] in page.visible_text.replace("-", "").replace(" ", "")

        await whole.play(played.unit, played.name, steps("21-pairing-code-after-qr"), [a_qr_code, a_pairing_code])


@pytest.mark.heavy
async def test_every_case_of_sending_ends_as_it_demands(database: str, tmp_path: Path) -> None:
    async with daemon_in_process(database, tmp_path / "state") as whole, crm_receiver() as crm:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play_21, whole, crm)
            nursery.start_soon(play_06, whole, crm)
            nursery.start_soon(play_08, whole, crm)
            nursery.start_soon(play_changes, whole, crm)
        # Their server reports no status meanwhile.
        await play_07(whole, crm, None)
        await play_07(whole, crm, 463)
        assert whole.running.core.counters.total("actor_crashes") == 0
        assert whole.running.core.counters.total("sender_crashes") == 0
