"""Finds and restores messages whose webhooks were missed, by reading Evolution's own message store.

Imported by supervisors.outbound, supervisors.operations and daemon."""
