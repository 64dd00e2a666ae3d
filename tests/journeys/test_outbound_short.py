"""A short outbound chaos run: faults and a kill while messages are sent, and the proof that a slip would be seen."""

import httpx2
import psycopg
import pytest
import trio
from chaos.outbound_faults import dies_at, nearly_all_settled, sometimes
from chaos.outbound_run import OutboundRun, Phase, open_outbound_run

from zapline.sandbox.simulator.server import API_KEY

LIMIT = 40.0
UNITS = 3
FAULTS = [
    sometimes("drop_reply", 0.3),
    sometimes("never_echo", 0.15),
    sometimes("error", 0.18),
    sometimes("connection_closed", 0.18),
    sometimes("duplicate", 0.3, path="/"),
]


async def send_a_second_copy(run: OutboundRun, client_id: str) -> None:
    """What the daemon must never do, done by hand."""
    (posted,) = [posted for posted in run.house.posts.all if posted.client_id == client_id]
    async with httpx2.AsyncClient(base_url=run.simulator.url, headers={"apikey": API_KEY}) as http:
        body = {"number": posted.to, "text": posted.text}
        assert (await http.post(f"/message/sendText/{posted.instance}", json=body)).status_code == 201
    await run.simulator.look()


def settled(url: str, client_ids: list[str]) -> list[str]:
    """Those of them that are on a phone for certain."""
    with psycopg.connect(url, connect_timeout=5) as conn:
        rows = conn.execute(
            "select m.client_message_id from zapline.messages m join zapline.outbox o on o.message_id = m.id"
            " where o.state = 'settled' and m.client_message_id = any(%s)",
            (client_ids,),
        )
        return [row[0] for row in rows]


def tamper(url: str, *statements: str) -> None:
    with psycopg.connect(url, connect_timeout=5) as conn:
        for statement in statements:
            conn.execute(statement.encode())


@pytest.mark.slow
async def test_each_message_is_sent_once_or_reported_uncertain_and_a_slip_would_be_seen() -> None:
    with trio.fail_after(LIMIT):
        async with open_outbound_run(UNITS, seed=11) as run:
            await run.phase(Phase("faults", FAULTS, each=10, dead=frozenset({"server_error"})))
            await run.phase(dies_at("after-201", most_passes=10))
            await run.judge()
            for row in run.rows:
                assert row.sound, (row.failures, row.outcome.notes)
            first, second = (row.outcome for row in run.rows)
            assert first.sent + second.sent >= 44
            assert first.uncertain >= 1
            nearly_all_settled(run, second)

            # Everything that must not be is now brought about by hand, and has to be found.
            posted = run.house.posts.of(run.rows[1].phase)
            twice, *others = settled(run.place.postgres.url, [one.client_id for one in posted])
            await send_a_second_copy(run, twice)
            at = "(select id from zapline.messages where client_message_id = '{}')"
            lost, tried, sunk, swapped = (at.format(client_id) for client_id in others[:4])
            tamper(
                run.place.postgres.url,
                f"update zapline.messages set client_message_id = null where id = {lost}",
                f"update zapline.outbox set tries = 4 where message_id = {tried}",
                f"update zapline.messages set delivery = 'sent' where id = {sunk}",
                f"update zapline.messages set external_id = 'X' where id = {swapped}",
            )
            found = await run.inspector.compare(posted)
            assert (found.twice, found.lost, found.wrong) == (1, 1, 3), found.notes
            assert await run.inspector.whole() != []
