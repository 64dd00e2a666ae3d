"""What a large inbox costs: one request for its first paint, a few statements, and none while nothing happens."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.console_operator import Operator

from zapline.sql.postgres.connection import Connection

CHATS, MESSAGES = 2000, 2000
ID = "('00000000-0000-4000-8000-' || lpad(to_hex({}), 12, '0'))::uuid"
FILL = f"""
with unit as (select '{{unit}}'::uuid as id),
people as (
    insert into zapline.contacts (id, unit_id, kind, canonical, phone, name, name_at)
    select {ID.format("n")}, unit.id, 'person', '+5511' || (900000000 + n), '+5511' || (900000000 + n),
           'Ana ' || n, now() from unit, generate_series(1, {CHATS}) n returning id),
chats as (
    insert into zapline.conversations (id, unit_id, contact_id, last_message_at)
    select {ID.format("n")}, unit.id, {ID.format("n")}, now() - n * interval '1 s'
      from unit, generate_series(1, {CHATS}) n returning id)
insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind, kind_rank, body,
                              origin, sent_at, received_at)
select {ID.format("n")}, unit.id, {ID.format("chat")}, 'evolution', 'M' || n, false, 'text', 2, 'Linha ' || n,
       'webhook', at, at
  from unit, (select n, case when n <= {MESSAGES} then 1 else n - {MESSAGES} end as chat,
                     now() - (case when n <= {MESSAGES} then n / 1000.0 else n - {MESSAGES} end) * interval '1 s' as at
                from generate_series(1, {MESSAGES + CHATS}) n offset 0) x
returning 1"""


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the console asks of the database, with what opens its scope; the engine's own work goes on beside."""
    seen: list[str] = []
    of_pages: set[int] = set()
    run = Connection._run

    async def note(self: Connection, statement: str, params: Any) -> Any:
        if "set_config('zapline." in str(statement):
            of_pages.add(id(self))
        if id(self) in of_pages:
            seen.append(str(statement))
        return await run(self, statement, params)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "_run", note)
        yield seen


async def test_a_large_inbox_is_painted_by_one_request_of_few_statements_and_rests_without_any(
    api: Any, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = await api.add_unit()
    await api.sql(FILL.replace("{unit}", str(unit.id)))
    chat = f"/console/units/{unit.id}/conversations/00000000-0000-4000-8000-000000000001"
    await operator.get(chat)
    with counted(monkeypatch) as seen:
        page = await operator.get(chat)
    assert page.text.count('class="conversation unread"') == 30
    assert page.text.count('class="message"') == 40
    ours = [statement for statement in seen if "from zapline." in statement]
    assert len(ours) <= 4, ours
    assert len(page.text) < 200_000
    assert "data-every" not in page.text, "nothing is asked for by the clock"
    live = {"X-Zapline-Live": "1", "X-Zapline-Idle": "1"}
    memory_only = ["/console/session", f"{chat}/colleagues", f"/console/units/{unit.id}/part/hold"]
    stream = re.search(r'data-events="([^"]+)"', page.text)
    assert stream is not None
    with counted(monkeypatch) as seen:
        async with operator.client.stream("GET", stream[1], headers=live) as answer:
            lines = answer.aiter_lines()
            async for line in lines:
                if line == "event: hello":
                    break
            for path in memory_only * 3:
                assert (await operator.client.get(path, headers=live)).status_code < 300
    assert seen == []
