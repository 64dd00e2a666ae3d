"""The pages of signing in and out, preferences, the audit log and the version.

Only the application and the route lists of the console import it.
"""
