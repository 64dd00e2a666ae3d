"""Pages of a unit's settings, opt-outs, tokens, CRM webhooks and privacy; only the route lists import them."""
