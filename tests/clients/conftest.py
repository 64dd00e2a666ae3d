"""The fixtures of the pytest plugin, which an installation finds by its entry point; the sandbox is all files' own."""

from pytest_zapline import zapline, zapline_sandbox

__all__ = ["zapline", "zapline_sandbox"]
