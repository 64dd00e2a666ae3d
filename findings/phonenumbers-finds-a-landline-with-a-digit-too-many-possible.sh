#!/usr/bin/env bash
# Brazilian landlines have eight digits after the area code and begin with 2 to 5; mobiles have nine and begin with 9.
# Expected: a number of nine digits that begins like a landline is too long to be one, and libphonenumber says so (TOO_LONG, or INVALID_LENGTH).
# Happens: "possible" looks at the length alone, whatever the first digit is: eleven digits are a possible number of Brazil, valid for no kind of line.
# Who checks by is_possible_number, which is meant for numbers newer than its tables, lets one digit too many pass.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check phonenumbers==9.0.43
cat > "$dir/run.py" <<'PY'
import sys
import phonenumbers
seen = {}
for digits in ("1133334444", "11333344445", "11233344445", "11433344445", "11533344445", "11999990001"):
    parsed = phonenumbers.parse(digits, "BR")
    reason = phonenumbers.ValidationResult.to_string(phonenumbers.is_possible_number_with_reason(parsed))
    seen[digits] = (reason, phonenumbers.is_valid_number(parsed))
    print(f"phonenumbers {phonenumbers.__version__}: {digits}: possible, valid = {seen[digits]}")
wrong = ("IS_POSSIBLE", False)
expected = dict.fromkeys(("11333344445", "11233344445", "11433344445", "11533344445"), wrong)
expected |= dict.fromkeys(("1133334444", "11999990001"), ("IS_POSSIBLE", True))
sys.exit(seen != expected)
PY
"$dir/venv/bin/python" "$dir/run.py"
