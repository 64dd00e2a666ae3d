"""Tells clients what happens: live events in memory, and webhooks to CRMs (hooks), stored and delivered.

The lowest room of ``supervisors``: all its neighbours, ``http`` and ``daemon`` may import it.
"""
