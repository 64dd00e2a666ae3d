"""Instances, messages, faults and webhook deliveries of one server; for ``endpoints`` and ``server``."""
