"""Builds the running daemon; the only place that constructs its objects. Imported by the ``run`` command alone."""
