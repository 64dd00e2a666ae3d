"""Administrators, access tokens and the audit log.

Imports postgres; imported by the packages above sql."""
