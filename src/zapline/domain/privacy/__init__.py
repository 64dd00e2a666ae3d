"""Masking of what is shown, and erasure of people. ``domain.campaigns`` and the packages above ``domain`` import it."""
