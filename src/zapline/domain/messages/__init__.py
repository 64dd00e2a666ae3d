"""Facts and delivery statuses of messages. ``domain.inbound_events`` and above may import it; ``line`` may not."""
