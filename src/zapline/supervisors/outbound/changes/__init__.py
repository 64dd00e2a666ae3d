"""Edits and deletions of messages that were sent."""
