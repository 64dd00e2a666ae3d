"""Integrity checks of the stored rows, and samples of the health report's rates.

Imports units and postgres; imported by the packages above sql."""
