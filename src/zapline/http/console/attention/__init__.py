"""Pages of what needs a person: uncertain and failed messages, dead letters; only the route lists import them."""
