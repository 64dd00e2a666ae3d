"""Groups whose subject nobody has told are asked for: once, paced, by connected lines only, again after a failure."""

from uuid import uuid4

import trio

from zapline.domain.ids import UnitId
from zapline.evolution.client.call_policy import CallPolicy
from zapline.evolution.client.response_parser import WebhookRegistration
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.sandbox.simulator.server import API_KEY, SimulatedEvolution
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import insert_unit
from zapline.supervisors.counters import Counters
from zapline.supervisors.units.group_subjects import GroupSubjects

VIP, TEAM, LEFT = "120363000000000001@g.us", "120363000000000002@g.us", "120363000000000003@g.us"
_GROUP = "insert into zapline.contacts (id, unit_id, kind, canonical) values (%s, %s, 'group', %s)"
_CHAT = "insert into zapline.conversations (id, unit_id, contact_id, last_message_at) values (%s, %s, %s, now())"
STATE = "select name, subject_tries, subject_due_at > now() as later from zapline.contacts order by canonical"


async def add_unit(conn: Connection, instance: str, *groups: str) -> UnitId:
    unit = UnitId(uuid4())
    await insert_unit(conn, id=unit, name="u", instance=instance, secret_digest=unit.bytes, time_zone="UTC")
    for group in groups:
        id = uuid4()
        await conn.execute(_GROUP, (id, unit, f"group:{group}"))
        await conn.execute(_CHAT, (id, unit, id))
    return unit


async def ready() -> None:
    """This process may write."""


async def test_groups_are_asked_for_and_named_and_those_that_failed_later_again(database: str) -> None:
    async with (
        SimulatedEvolution.running(behaviour=Behaviour(first_qr=0.01)) as evolution,
        open_http_client() as http,
        Pool.open(database, size=2, patience=2.0, role="zapline_engine") as pool,
        await connect(database) as conn,
    ):
        client = EvolutionClient(http, evolution.url, API_KEY, CallPolicy(attempts=1))
        await client.create_instance("loja", WebhookRegistration("http://127.0.0.1:9/", ("MESSAGES_UPSERT",)))
        await client.connect("loja")
        await add_unit(conn, "loja", VIP, TEAM, LEFT)
        subjects = evolution.state.numbers.subjects
        subjects |= {VIP: "Clientes VIP", TEAM: "Equipe"}
        counters = Counters(trio.current_time)
        asking = GroupSubjects(pool, client, ready, counters)

        async def state() -> list[tuple[object, ...]]:
            return [tuple(row) for row in await conn.fetch(STATE)]

        await asking.ask()  # the line is not connected: nobody is asked
        assert counters.totals == {}
        await conn.execute("update zapline.unit_whatsapp_connections set phase = 'open', status = 'connected'")
        await asking.ask()  # Evolution's line is closed: that is no fault of the group's
        assert counters.totals == {("group_subjects", "not_connected"): 1}
        assert await state() == [(None, 0, True)] * 3
        await asking.ask()  # and none of its other groups is asked for at once
        assert sum(counters.totals.values()) == 1
        await conn.execute("update zapline.contacts set subject_due_at = '-infinity', subject_tries = 0")
        evolution.scan("loja")
        for _ in range(4):  # one question of each line at a time
            await asking.ask()
        assert await state() == [("Clientes VIP", 0, True), ("Equipe", 0, True), (None, 1, True)]
        assert counters.totals["group_subjects", "told"] == 2
        assert counters.totals["group_subjects", "invalid_request"] == 1

        subjects |= {VIP: "Clientes VIP 2027", LEFT: "De volta"}
        await conn.execute("update zapline.contacts set subject_due_at = now(), name_at = now() - interval '2 days'")
        for _ in range(3):
            await asking.ask(refresh=True)
        assert await state() == [("Clientes VIP 2027", 0, True), ("Equipe", 0, True), ("De volta", 0, True)]
