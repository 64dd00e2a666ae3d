"""Messages as WhatsApp reports them: facts and delivery statuses.

``domain.inbound_events`` and everything above it may import this package; ``line`` may not."""
