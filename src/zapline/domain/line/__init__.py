"""The connection state machine of a unit's line: events, signals, transition table, state, reasons.

``domain.inbound_events`` and everything above it may import this package; ``messages`` may not."""
