"""Message secrets and encrypted wrappers in Evolution's bodies. ``evolution.webhooks.message_events`` imports it."""
