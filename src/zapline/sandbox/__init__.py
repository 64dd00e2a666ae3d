"""A whole Zapline on one machine: embedded PostgreSQL and a simulated Evolution; for ``zapline sandbox`` and tests."""
