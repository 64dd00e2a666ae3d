"""Prints the progress of a chaos run, and aligns tables."""

import sys
from collections.abc import Sequence


def log(text: str = "") -> None:
    """Print one line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def align(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Format one line of a table: the first column is left aligned, the others right."""
    first, *rest = cells
    return "  ".join(
        [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
    )
