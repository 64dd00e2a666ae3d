"""Sending: contents, work states, outcomes, echoes, pace. ``domain.campaigns`` and above may import it."""
