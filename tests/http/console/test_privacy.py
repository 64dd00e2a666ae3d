"""Privacy in the console: what is held of a person is counted, handed out and erased by who typed the digits."""

from typing import Any

import trio
from support.console_operator import BROWSER, Operator


async def test_a_person_is_found_exported_and_erased_by_who_typed_the_last_digits(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    key = {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False, "id": "A1"}
    message = {"key": key, "pushName": "João <b>", "message": {"conversation": "oi"}, "messageTimestamp": 1_795_364_451}
    await api.send(unit, "messages.upsert", message)
    base = f"/console/units/{unit.id}/privacy"
    page = await operator.get(base)
    assert "Messages are kept until somebody erases them." in page.visible_text
    assert "Nobody here has this name" in (await operator.get(f"{base}?q=maria")).visible_text
    page = await operator.get(f"{base}?q=joao")
    (link,) = [link for link in page.links if "contact=" in link]
    page = await operator.get(link)
    assert "1 messages" in page.visible_text
    assert "<b>" not in page.text
    form = page.forms[f"{base}/export"]
    answer = await operator.client.post(f"{base}/export", data=form, headers=BROWSER)
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.json()["messages"][0]["text"] == "oi"
    await operator.send(f"{base}/erase", {"digits": "9999"})
    page = await operator.follow()
    assert "Nothing was erased" in page.visible_text
    await operator.send(f"{base}/erase", {"digits": "0001"})
    assert "is being erased" in (await operator.follow()).visible_text
    with trio.fail_after(30):
        while "Done" not in (await operator.get(f"{base}/jobs")).visible_text:  # noqa: ASYNC110 - as the script asks
            await trio.sleep(0.05)
    assert "1 messages" in (await operator.get(f"{base}/jobs")).visible_text
    assert (await api.sql("select count(*) from zapline.messages"))[0][0] == 0
    await operator.get(link, 404)
    actions = [row.action for row in await api.sql("select action from zapline.audit_log where outcome = 200")]
    assert {"export_person", "erase_person"} <= set(actions)
    other = await api.add_unit("Outra")
    await operator.get(link.replace(str(unit.id), str(other.id)), 404)
