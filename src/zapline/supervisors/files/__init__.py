"""Keeps files of messages: fetches them on arrival, hands them out, removes them. Imported by ``health``, ``http``."""
