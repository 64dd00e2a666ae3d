"""PostgreSQL and the journal: everything that is stored.

Each module's statements are in the .sql file beside it. Imported by supervisors, http and daemon."""
