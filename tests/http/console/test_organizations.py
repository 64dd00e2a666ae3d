"""Organizations in the console: made, given units and a token, and removed."""

import re
from typing import Any

from support.console_operator import Operator


async def test_an_organization_is_made_given_units_and_a_token_and_removed(api: Any, operator: Operator) -> None:
    first, second = await api.add_unit("Centro"), await api.add_unit("Norte")
    base = "/console/organizations"
    assert "There is no organization yet" in (await operator.get(base)).visible_text
    await operator.send(base, {"name": " "}, 422)
    await operator.send(base, {"name": "<b>Rede"})
    page = await operator.follow()
    assert "<b>Rede" not in page.text
    assert "It has no units yet." in page.visible_text
    (made,) = (await api.get("/organizations"))["items"]
    one = f"{base}/{made['id']}"
    await operator.send(f"{one}/units", {"unit": str(first.id)})
    await operator.follow()
    await operator.send(f"{one}/units", {"unit": str(second.id)})
    assert "The unit is in it now." in (await operator.follow()).visible_text
    await operator.send(f"{one}/tokens", {"label": "CRM"}, 422)
    assert "at least one thing" in operator.page.visible_text
    await operator.send(f"{one}/tokens", {"label": "CRM", "read": "on", "opens": "chosen"}, 422)
    assert "at least one unit" in operator.page.visible_text
    chosen = {"label": "CRM", "read": "on", "opens": "chosen", "unit": str(second.id)}
    await operator.send(f"{one}/tokens", {**chosen, "opens": "all"}, 422)
    assert "say which of the two is meant" in operator.page.visible_text
    assert "unitIds" not in operator.page.visible_text
    assert (await api.get(f"/organizations/{made['id']}/tokens"))["items"] == []
    page = await operator.send(f"{one}/tokens", chosen, 200)
    token = re.search(r'value="(zl_[\w-]{43})"', page.text)
    assert token is not None
    headers = {"Authorization": f"Bearer {token[1]}"}
    seen = [(await api.client.get(f"/units/{unit.id}", headers=headers)).status_code for unit in (first, second)]
    assert seen == [404, 200]
    page = await operator.get(one)
    assert token[1] not in page.text
    await operator.send(next(action for action in page.forms if action.endswith("/revoke")))
    assert "opens nothing any more" in (await operator.follow()).visible_text
    assert (await api.client.get(f"/units/{second.id}", headers=headers)).status_code == 401
    await operator.send(f"{one}/campaign-rules", {"messages": "2", "rule-days": "7"})
    page = await operator.follow()
    assert 'value="7"' in page.text
    await operator.send(f"{one}/campaign-rules", {"messages": "", "rule-days": "7"})
    assert "both messages and days" in (await operator.follow()).visible_text
    await operator.send(f"{one}/name", {"name": "Rede Sul"})
    await operator.follow()
    for unit in (first, second):
        await operator.send(f"{one}/units/{unit.id}/remove")
        page = await operator.follow()
    assert "Rede Sul" in page.visible_text
    await operator.send(f"{one}/delete")
    assert "The organization is removed." in (await operator.follow()).visible_text
