"""Authenticates administrators, machines and units by their tokens, and writes the audit log.
Imported by ``operations``, ``http`` and ``daemon``."""
