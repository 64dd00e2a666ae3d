"""Pure parsing of Evolution's webhook bodies into inbound events. ``evolution.client`` and above may import it."""
