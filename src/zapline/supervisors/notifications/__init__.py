"""Tells clients what happens: live events from memory, and webhooks to CRMs (hooks), stored and delivered.
The lowest room of ``supervisors``: its neighbours, ``http`` and ``daemon`` may import it."""
