"""The outbox: queueing, claims, pace, uploads, uncertain sends and reconciliation with Evolution's store.

Imports postgres; imported by conversations, supervisors, http and daemon."""
