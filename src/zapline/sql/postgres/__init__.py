"""Connections to PostgreSQL on trio: pool, named queries, migrations, errors and row level security.

Imports only domain; every other package of sql may import it."""
