"""Writes CSV that no spreadsheet takes for formulas."""

import csv
import io
import re
from collections.abc import Iterable

_FORMULA = re.compile(r"[\t\r\n]|[\s\ufeff\u200b-\u200f\u2060\x00-\x1f]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""Cells that some spreadsheet would run as a formula; invisible characters in front are skipped."""


def csv_bytes(rows: Iterable[Iterable[str]]) -> bytes:
    """The rows in UTF-8; a cell that could be a formula gets an apostrophe in front."""
    output = io.StringIO()
    csv.writer(output).writerows(["'" + cell if _FORMULA.match(cell) else cell for cell in row] for row in rows)
    return output.getvalue().encode()
