"""Parses Evolution's webhook bodies into inbound events; pure.

``evolution.client`` and the packages above ``evolution`` may import it."""
