"""Statements of daemons that share the units: which node owns which, and webhooks that wait for their owner."""
