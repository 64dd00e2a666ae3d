"""The pages of campaigns: the form, the list, progress and recipients.

Only the route lists of the console import it.
"""
