"""Says for how long calls to Evolution may take, and how often an idempotent one is made."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """Timeouts in seconds, and the number of attempts of an idempotent call."""

    connect: float = 5.0
    """Evolution is near; a handshake that takes longer will not finish."""
    call: float = 30.0
    """``connect`` waits 2 s and ``create`` up to 5 s inside Evolution (contract, section 1)."""
    send_file: float = 120.0
    """Evolution fetches the file, may convert it, and uploads it to WhatsApp before it answers."""
    fetch_file: float = 600.0
    """Evolution brings the file from WhatsApp, and 100 MiB are on their way for minutes on a slow line."""
    overall: float = 60.0
    """For all attempts and the waits between them."""
    attempts: int = 3
    first_wait: float = 0.2
    longest_wait: float = 2.0
