"""Alarms in the console: somebody is added, a test tells whether it arrives, and incidents are listed."""

import re
from typing import Any
from uuid import uuid4

from support.console_operator import Operator
from support.crm_receiver import crm_receiver

from zapline.domain.alarms.incidents import Incident, Member, NoticeKind, Saying, Trouble
from zapline.sql.health import alarms

PATH = "/console/alarms"


async def test_somebody_is_told_of_alarms_tested_and_removed_in_the_console(api: Any, operator: Operator) -> None:
    await api.add_unit("<b>Centro")
    assert PATH in (await operator.get("/console/health")).links
    page = await operator.get(PATH)
    assert "Alarms go to nobody yet" in page.visible_text
    assert "Nothing was told yet" in page.visible_text
    async with crm_receiver() as at:
        asked = {"kind": "webhook", "to": f"{at.url}/hook?key=A1", "language": "pt-BR"}
        await operator.send(PATH, {**asked, "to": "http://"}, 422)
        await operator.send(PATH, {**asked, "kind": "email", "to": "ana@example.com"}, 422)
        assert "needs an SMTP server: set" in operator.page.visible_text
        await operator.send(PATH, {**asked, "kind": "pigeon"}, 422)
        secret = re.search(r'value="(whsec_[^"]+)"', (await operator.send(PATH, asked, 200)).text)
        assert secret is not None
        page = await operator.get(PATH)
        assert "A1" not in page.text
        test = next(action for action in page.forms if action.endswith("/test"))
        await operator.send(test)
        assert "The test was taken" in (await operator.follow()).visible_text
        assert at.calls[0].signed_with(secret[1])
    await operator.send(test)
    page = await operator.follow()
    assert "The test did not arrive: no answer: nothing listens there" in page.visible_text
    line = {"kind": "line", "to": "(11) 98888-0001", "language": "en"}
    await operator.send(PATH, {**line, "units": "no unit"}, 422)
    await operator.send(PATH, {**line, "units": str(api.roster.units()[0].id)})
    page = await operator.follow()
    assert "98888" not in page.text
    assert "<b>Centro" not in page.text
    for action in [action for action in page.forms if action.endswith("/remove")]:
        await operator.send(action)
        await operator.follow()
    assert "Alarms go to nobody yet" in operator.page.visible_text
    async with api.engine_pool.connection() as conn, conn.transaction():
        for number in range(21):
            names = [Member(Trouble(f"line:{n}", 1000.0, f"<i>Loja {n}", "logged_out"), True) for n in range(12)]
            incident = Incident(uuid4(), 1000.0, 1000.0, tuple(names), 1, 1000.0, 4600.0 if number else None)
            await alarms.store_saying(conn, Saying(NoticeKind.ALARM, incident), [])
    page = await operator.get(PATH)
    assert "1 h 0 min" in page.visible_text
    assert "and 2 more" in page.visible_text
    assert "<i>" not in page.text
    (older,) = [link for link in page.links if "before=" in link]
    assert "goes on" in (await operator.get(older)).visible_text
