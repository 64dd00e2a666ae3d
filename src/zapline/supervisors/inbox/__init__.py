"""The second copy of each webhook, where several processes share the units."""
