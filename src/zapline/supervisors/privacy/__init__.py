"""Deletes data: people on request, messages after their retention. Imported by ``operations``, ``http``, ``daemon``."""
