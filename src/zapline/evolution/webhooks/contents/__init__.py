"""Reads what messages say: one module for each family of contents; nothing here raises."""
