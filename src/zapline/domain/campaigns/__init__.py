"""Campaigns: states, schedule, recipients, templates, opt-out words. Only packages above ``domain`` import it."""
