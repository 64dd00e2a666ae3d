"""Starts, stops and operates Zapline: composition, settings, logging, commands, doctor. Only tests import it."""
