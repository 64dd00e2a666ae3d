"""Edits and deletions of what was sent, played to a whole daemon: each call once, and each outcome told as it is."""

from typing import Any
from uuid import UUID

import trio
from support.crm_receiver import CrmReceiver
from support.daemon_in_process import WholeDaemon

from zapline.sql.postgres.connection import connect

NUMBER = "5511977770031"


class Changer:
    """One unit of the daemon, and what its phones were told of earlier messages."""

    def __init__(self, whole: WholeDaemon, unit: str, name: str) -> None:
        self.whole, self.unit, self.name = whole, unit, name
        self.sent = 0

    async def send(self, text: str = "oi") -> Any:
        self.sent += 1
        body = {"clientMessageId": f"m{self.sent}", "to": NUMBER, "text": text}
        path = f"/units/{self.unit}/messages"
        made = await self.whole.post(path, body, 202)
        return await self.whole.until(f"{path}/{made['id']}", lambda one: one["workState"] == "settled")

    def path(self, message: Any) -> str:
        return f"/units/{self.unit}/messages/{message['id']}"

    async def edit(self, message: Any, text: str, expect: int) -> Any:
        return await self.whole.call("PATCH", self.path(message), {"text": text}, expect)

    async def delete(self, message: Any, expect: int) -> Any:
        return await self.whole.call("DELETE", self.path(message), None, expect)

    async def changes(self, message: Any) -> list[tuple[str, str]]:
        page = await self.whole.get(f"{self.path(message)}/changes")
        return [(each["kind"], each["state"]) for each in page["items"]]

    def told(self, message: Any) -> list[str | None]:
        """What phones were told of the message."""
        changes = self.whole.evolution.ledger.changes
        return [text for unit, id, text in changes if (unit, id) == (self.name, message["externalId"])]

    async def sql(self, statement: str, *values: object) -> None:
        async with await connect(self.whole.database) as conn:
            await conn.execute(statement, values)


async def play_changes(whole: WholeDaemon, crm: CrmReceiver) -> None:
    """All of it, in one unit whose CRM listens."""
    unit = await whole.add_unit("changes")
    await whole.post(f"/units/{unit}/hooks", {"url": f"{crm.url}/{unit}"}, 201)
    one = Changer(whole, unit, "changes")
    await changed_once(one, crm)
    await not_answered(one)
    await refused(one)


async def changed_once(one: Changer, crm: CrmReceiver) -> None:
    message = await one.send("Chega às 14 h")
    for _ in range(2):
        edited = await one.edit(message, "Chega às 15 h", 200)
        assert (edited["text"], edited["deletedAt"]) == ("Chega às 15 h", None)
        assert edited["editedAt"]
    assert one.told(message) == ["Chega às 15 h"]
    await one.edit(message, "Chega às 16 h", 200)
    assert await one.changes(message) == [("edit", "done")] * 2
    for _ in range(2):
        deleted = await one.delete(message, 200)
        assert deleted["text"] is None
        assert deleted["deletedAt"]
    assert one.told(message) == ["Chega às 15 h", "Chega às 16 h", None]
    await one.edit(message, "again", 409)

    def heard() -> list[str]:
        calls = [call.payload for call in crm.calls_to(f"/{one.unit}")]
        about = [call for call in calls if call["data"].get("id", call["data"].get("messageId")) == message["id"]]
        return [call["type"] for call in about if call["type"] in ("message.edited", "message.deleted")]

    with trio.fail_after(30):
        while heard() != ["message.edited", "message.edited", "message.deleted"]:  # noqa: ASYNC110 - what CRMs are told
            await trio.sleep(0.05)


async def not_answered(one: Changer) -> None:
    """The call acts and its answer is lost: the echo tells, or the store does. Nothing is repeated."""
    echoed, stored, nothing, gone, old = [await one.send(f"uncertain {number}") for number in range(5)]
    inject = one.whole.evolution.inject_fault
    inject("drop_reply", instance=one.name, path="/chat/updateMessage", count=1)
    await one.edit(echoed, "by the echo", 202)
    await one.whole.until(one.path(echoed), lambda shown: shown["text"] == "by the echo")
    assert await one.changes(echoed) == [("edit", "done")]

    inject("webhooks_off", instance=one.name)
    for path in ("/chat/updateMessage", "/chat/deleteMessageForEveryone"):
        inject("drop_reply", instance=one.name, path=path, count=1)
    await one.edit(stored, "by the store", 202)
    await one.delete(gone, 202)
    inject("error", instance=one.name, path="/chat/updateMessage", count=1)
    await one.edit(nothing, "by nobody", 202)
    for message, text in ((stored, "by the store"), (nothing, "by nobody")):
        assert await one.changes(message) == [("edit", "uncertain")]
        await one.edit(message, text, 202)
        assert (await one.edit(message, "another", 409))["code"] == "change_under_way"
        await one.delete(message, 409)
    assert (one.told(stored), one.told(nothing), one.told(gone)) == (["by the store"], [], [None])
    inject("error", instance=one.name, path="/chat/updateMessage", count=1)
    await one.edit(old, "a day ago", 202)
    late = "update zapline.message_changes set asked_at = now() - interval '25 hours', look_at = now() "
    await one.sql(late + "where message_id = %s", UUID(old["id"]))
    await one.whole.until(f"{one.path(old)}/changes", lambda page: page["items"][0]["state"] == "unknown")
    await one.sql("update zapline.message_changes set look_at = now() where state = 'uncertain'")
    await one.whole.until(one.path(stored), lambda shown: shown["text"] == "by the store")
    await one.whole.until(one.path(gone), lambda shown: shown["deletedAt"])
    with trio.fail_after(60):  # a look that is under way counts before the next
        while await one.changes(nothing) != [("edit", "unknown")]:
            await one.sql("update zapline.message_changes set look_at = now() where state = 'uncertain'")
            await trio.sleep(0.1)
    assert one.told(nothing) == []
    one.whole.evolution.clear_faults(instance=one.name)
    await one.edit(nothing, "by nobody", 200)
    assert await one.changes(nothing) == [("edit", "done"), ("edit", "unknown")]
    assert (one.told(stored), one.told(nothing), one.told(gone)) == (["by the store"], ["by nobody"], [None])


async def refused(one: Changer) -> None:
    """What cannot be changed is said before anything is called; what certainly failed may be asked again."""
    whole, message = one.whole, await one.send("to be refused")
    whole.evolution.inject_fault("throttle", instance=one.name, path="/chat/updateMessage", count=1)
    failed = await one.edit(message, "new", 502)
    assert (failed["code"], failed["retryable"]) == ("evolution_failed", True)
    assert await one.changes(message) == [("edit", "failed")]
    await one.edit(message, "new", 200)
    await one.sql(
        "update zapline.messages set sent_at = now() - interval '16 minutes' where id = %s", UUID(message["id"])
    )
    assert "15 minutes" in (await one.edit(message, "newer", 409))["detail"]
    await one.sql(
        "update zapline.messages set sent_at = now() - interval '61 hours' where id = %s", UUID(message["id"])
    )
    assert (await one.delete(message, 409))["code"] == "not_changeable"
    await whole.control("receive", instance=one.name, text="theirs")
    page = await whole.until(
        f"/units/{one.unit}/messages?afterSeq=0", lambda found: found["items"][-1]["text"] == "theirs"
    )
    assert (await one.delete(page["items"][-1], 409))["code"] == "not_changeable"
    await one.edit({"id": str(UUID(int=1))}, "nobody's", 404)
    await one.edit(message, "", 422)
    assert one.told(message) == ["new"]
