"""The pages of what needs a person: uncertain and failed messages, dead letters.

Only the route lists of the console import it.
"""
