"""Queues messages, sends them through Evolution one call at a time for each unit, and resolves uncertain sends.

Imported by ``campaigns``, ``health`` and ``operations``, and by ``http`` and ``daemon``.
"""
