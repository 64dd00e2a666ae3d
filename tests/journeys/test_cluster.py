"""Three daemons that share the units, as real processes: one is killed, one stands still, one leaves and comes back."""

import json
import signal
import time

import pytest
from support.cluster import Node, Traffic, gaps, inspect, running_cluster
from support.running_system import wait_until

WITHIN = 120.0
"""Seconds for what takes ten on a machine that has nothing else to do."""


def single_copies(node: Node) -> int:
    return int(node.http.get("/health").json()["checks"]["singleCopyWebhooks"]["value"])


@pytest.mark.long
def test_a_node_is_killed_another_stands_still_and_everything_arrives_once() -> None:
    with running_cluster(3, 6) as cluster:
        first, second, third = cluster.nodes
        cluster.wait_until_settled(WITHIN)
        traffic = Traffic(cluster, seed=1)
        traffic.start()
        try:
            time.sleep(2)  # webhooks and messages are under way
            since = time.time()
            second.signal(signal.SIGKILL)
            cluster.wait_until_settled(WITHIN, second)
            killed = gaps(cluster, since)
            second.start()
            cluster.wait_until_settled(WITHIN)
            since = time.time()
            third.signal(signal.SIGSTOP)
            cluster.wait_until_settled(WITHIN, third)
            stopped = gaps(cluster, since)
            third.signal(signal.SIGCONT)
            cluster.wait_until_settled(WITHIN)

            first.signal(signal.SIGTERM)
            wait_until(lambda: not first.is_alive, WITHIN, "an orderly end")
            cluster.wait_until_settled(WITHIN, first)
            first.start()
            cluster.wait_until_settled(WITHIN)
        finally:
            traffic.stop()
        print(
            f"owned again after {killed} of a kill, {stopped} of standing still; slowest {traffic.ledger.slowest:.1f} s"
        )
        assert sum(map(len, traffic.ledger.webhooks.values())) > 0
        assert sum(map(len, traffic.ledger.messages.values())) > 0
        # What came while PostgreSQL refused a node is in its journal alone, for seconds.
        wait_until(lambda: sum(map(single_copies, cluster.nodes)) == 0, WITHIN, "a second copy of each webhook")
        assert inspect(cluster, traffic.ledger).all == []
        # Each of the others has read what it did not own for itself: a stranger's webhook is refused by all alike.
        body = {"event": "messages.upsert", "instance": cluster.instances[0], "data": {}}
        for node in cluster.nodes:
            assert node.http.post("/webhooks/whatsapp/evolution/stranger", json=body).status_code == 200
        # One that is alone stands by while they work, and stores what they leave.
        second.signal(signal.SIGTERM)
        wait_until(lambda: not second.is_alive, WITHIN, "an orderly end")
        # One with another master key takes no lines.
        key, second.key = second.key, "another-master-key-of-thirty-two-letters"
        second.start()
        wait_until(lambda: second.answers_readyz("standby"), WITHIN, "a node that is refused")
        assert cluster.owners().get(second.id or "", 0) == 0
        second.signal(signal.SIGTERM)
        wait_until(lambda: not second.is_alive, WITHIN, "an orderly end")
        second.key, second.shares = key, False
        second.start()
        wait_until(lambda: second.id is None and second.answers_readyz("standby"), WITHIN, "a standby")
        for node in (first, third):
            node.signal(signal.SIGKILL)
        body["data"] = {
            "key": {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False, "id": "LEFT"},
            "message": {"conversation": "oi"},
            "messageType": "conversation",
            "messageTimestamp": int(time.time()),
        }
        cluster.put_into_inbox(cluster.units[0], json.dumps(body))
        stored = "select 1 from zapline.messages where external_id = 'LEFT'"
        wait_until(lambda: cluster.rows(stored), WITHIN, "what was left in the inbox")
        assert cluster.rows("select count(*) from zapline.inbox") == [(0,)]
