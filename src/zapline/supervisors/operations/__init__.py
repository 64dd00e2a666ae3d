"""Requests of the command line to the running daemon, and periodic housekeeping.

Imported by daemon only."""
