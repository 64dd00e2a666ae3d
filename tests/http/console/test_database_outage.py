"""What the console shows while the database is away: lines from memory, and a page that says so for the rest."""

from contextlib import closing
from typing import Any

import psycopg
from support.console_operator import Operator

from zapline.sandbox.embedded_postgres.server import PostgresServer


async def test_lines_are_shown_while_the_database_is_away(
    api: Any, operator: Operator, postgres: PostgresServer
) -> None:
    unit = await api.add_unit("Loja")
    await operator.get("/console/")
    name = api.database.rpartition("/")[2]
    with closing(psycopg.connect(postgres.url, autocommit=True, connect_timeout=5)) as admin:
        admin.execute(f"alter database {name} allow_connections false")
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
    page = await operator.get(f"/console/units/{unit.id}")
    assert "never been connected" in page.visible_text
    assert "what waits cannot be counted" in page.visible_text
    page = await operator.get("/console/health")
    assert "Recorder lanes stopped" in page.visible_text
    page = await operator.get("/console/?q=loja")
    assert "Loja" in page.visible_text
    page = await operator.get("/console/audit", 503)
    assert "The database is away" in page.visible_text
    assert 'data-again="5"' in page.text
    answer = await operator.client.get("/console/audit", headers={"X-Zapline-Live": "1"})
    assert answer.headers["content-type"].startswith("text/plain")
