"""A whole Zapline on one machine: embedded PostgreSQL and a simulated Evolution server."""
