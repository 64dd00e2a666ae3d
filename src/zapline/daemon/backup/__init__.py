"""Backup and restore: the database, the journal and the master key, with a manifest that says what belongs together."""
