"""What pages show of a code that waits to be scanned: when it was offered, and how long it lives."""

import time
from typing import Any

from zapline.domain.line.reasons import Phase
from zapline.domain.line.state import StoredLineState
from zapline.domain.line.state_machine import QR_LIFE


def offers_code(stored: StoredLineState | None) -> bool:
    """Whether the line has a code that can be scanned."""
    return stored is not None and stored.phase is Phase.PAIRING and stored.qr_code is not None


def scan_values(stored: StoredLineState | None) -> dict[str, Any]:
    """``pairing`` says whether there is a code; times are UTC seconds, ``left`` and ``life`` seconds."""
    pairing = offers_code(stored)
    drawn_at = stored.qr_updated_at if stored is not None and pairing else None
    left = max(0.0, drawn_at + QR_LIFE - time.time()) if drawn_at is not None else 0.0
    return {
        "pairing": pairing,
        "stored": stored,
        "drawn_at": drawn_at,
        "expires_at": drawn_at + QR_LIFE if drawn_at is not None else None,
        "left": round(left),
        "life": round(QR_LIFE),
    }
