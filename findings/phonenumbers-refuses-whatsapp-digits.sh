#!/usr/bin/env bash
# WhatsApp addresses a person by digits that were once a phone number, and keeps them when a country changes its numbering: Mexican mobiles
# still have the 1 after 52, and many Brazilian ones have no ninth digit.
# Expected: whoever takes the digits of an address as a phone number gets a valid number of that country.
# Happens: libphonenumber finds the Mexican form too long to be possible, and the Brazilian one possible but valid for no kind of line.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check phonenumbers==9.0.43
cat > "$dir/run.py" <<'PY'
import sys
import phonenumbers
seen = {}
for country, address, number in (
    ("Mexico", "5215512345678@s.whatsapp.net", "+525512345678"),
    ("Brazil", "553187654321@s.whatsapp.net", "+5531987654321"),
):
    for digits in ("+" + address.partition("@")[0], number):
        parsed = phonenumbers.parse(digits)
        seen[digits] = (phonenumbers.is_possible_number(parsed), phonenumbers.is_valid_number(parsed))
        print(f"phonenumbers {phonenumbers.__version__}: {country} {digits}: possible, valid = {seen[digits]}")
expected = {
    "+5215512345678": (False, False), "+525512345678": (True, True),
    "+553187654321": (True, False), "+5531987654321": (True, True),
}
sys.exit(seen != expected)
PY
"$dir/venv/bin/python" "$dir/run.py"
