"""Statements that many units or requests share."""
