"""Where a message is, and how it came there."""
