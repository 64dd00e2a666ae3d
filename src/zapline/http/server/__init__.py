"""The HTTP/1.1 server on hypercorn's protocols, and what it knows of clients. Imported by ``http`` and ``daemon``."""
