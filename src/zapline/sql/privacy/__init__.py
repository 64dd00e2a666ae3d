"""Erasure, retention and export of personal data.

Imports postgres; imported by the packages above sql."""
