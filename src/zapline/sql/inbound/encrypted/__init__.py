"""Secrets of messages, and the reports encrypted under them. The recorder's transaction and housekeeping import it."""
