"""A PostgreSQL server from a wheel, run as a child process; for the sandbox and the tests."""
