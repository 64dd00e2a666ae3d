#!/usr/bin/env bash
# A text of a page says "1-2% is normal": no value is put into it.
# Expected: Babel extracts it as plain text, and a translation that writes the percent sign as its language does passes Babel's check.
# Happens: "% i" looks like a place for a number with a space as its flag. The entry is flagged python-format, and the Portuguese translation,
# in which another letter follows the sign, is reported to have other places than the original.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check babel==2.19.0
mkdir source
echo 'print(_("1-2% is normal"), _("One or two of a hundred are normal"))' > source/page.py
venv/bin/pybabel -q extract -o texts.pot source 2>/dev/null
cat > run.py <<'PY'
import sys
from importlib.metadata import version

from babel.messages.pofile import read_po

with open("texts.pot", "rb") as file:
    catalog = read_po(file)
seen = {}
for text, translation in (("1-2% is normal", "1-2% é normal"), ("One or two of a hundred are normal", "Um ou dois em cem é normal")):
    message = catalog[text]
    message.string = translation
    seen[text] = (message.python_format, [str(error) for error in message.check(catalog)])
print(f"Babel {version('babel')}: {seen}")
sys.exit(list(seen.values()) != [(True, ["placeholders are incompatible"]), (False, [])])
PY
venv/bin/python run.py
