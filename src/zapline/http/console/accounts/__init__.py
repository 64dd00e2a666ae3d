"""Pages of signing in, preferences, the audit log and the version; only the console's app imports them."""
