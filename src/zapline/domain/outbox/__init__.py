"""Sending: contents, work states, outcomes of calls, echo matching, pacing.

Only ``domain.campaigns``, ``domain.states_document`` and the packages above ``domain`` import it."""
