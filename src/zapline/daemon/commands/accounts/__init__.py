"""Commands about who may come in: administrators, tokens, organizations. Imported by ``daemon.cli``."""
