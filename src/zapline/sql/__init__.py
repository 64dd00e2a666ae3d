"""PostgreSQL and the journal: the only rooms that remember."""
