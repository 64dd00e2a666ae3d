"""Parsing of Evolution's webhook bodies into inbound events; pure. ``evolution.client`` and packages above import it."""
