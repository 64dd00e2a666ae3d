#!/usr/bin/env bash
# Argentine numbers are written with a 9 after 54 where a mobile is called from abroad, and without it at home: the rest is the same.
# Expected: without the 9 the number may be a mobile or a landline, since both share their digits: FIXED_LINE_OR_MOBILE.
# Happens: it is typed FIXED_LINE, and valid, also where libphonenumber knows the very same digits as a mobile's with the 9.
# Who adds the 9 only to mobiles never adds it, and who adds it to every number makes mobiles of landlines.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check phonenumbers==9.0.43
cat > "$dir/run.py" <<'PY'
import sys
import phonenumbers
from phonenumbers import PhoneNumberType
example = phonenumbers.example_number_for_type("AR", PhoneNumberType.MOBILE)
seen = []
for mobile in (phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164), "+5493512345678", "+5492215123456"):
    types = []
    for number in (mobile, mobile.replace("+549", "+54", 1)):
        parsed = phonenumbers.parse(number)
        types.append((phonenumbers.is_valid_number(parsed), PhoneNumberType.to_string(phonenumbers.number_type(parsed))))
        print(f"phonenumbers {phonenumbers.__version__}: {number}: valid, type = {types[-1]}")
    seen.append(types)
sys.exit(seen != [[(True, "MOBILE"), (True, "FIXED_LINE")]] * 3)
PY
"$dir/venv/bin/python" "$dir/run.py"
