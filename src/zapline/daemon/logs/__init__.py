"""Logging: its configuration, and the masking of secrets and phones. Imported by ``daemon``."""
