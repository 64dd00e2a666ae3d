"""The pages of a unit's settings, opt-outs, access tokens, CRM webhooks and privacy.

Only the route lists of the console import it.
"""
