"""Evaluates the health of the process: checks, verdict, history. Imported by ``http`` and ``daemon`` only."""
