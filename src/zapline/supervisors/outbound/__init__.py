"""Queues messages, sends them through Evolution one call at a time for each unit, and resolves uncertain sends.
Imported by ``campaigns``, ``health``, ``operations``, ``http`` and ``daemon``."""
