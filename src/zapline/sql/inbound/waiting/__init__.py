"""Messages and reactions that wait until it is known whose they are. The recorder's transaction imports it."""
