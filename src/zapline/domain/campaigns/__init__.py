"""Campaigns: states, schedule, recipients (CSV and checks), text templates, opt-out words.

The highest package of ``domain``: only ``domain.states_document`` and the packages above ``domain`` import it."""
