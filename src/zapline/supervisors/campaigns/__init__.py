"""Creates and controls campaigns, and feeds them into the outbox. Imported by ``http`` and ``daemon`` only."""
