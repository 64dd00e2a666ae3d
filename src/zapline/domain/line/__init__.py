"""The connection state machine of a line. ``domain.inbound_events`` and above may import it; ``messages`` may not."""
