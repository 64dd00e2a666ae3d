"""The durable local journal of accepted webhooks, in SQLite.

Imported by supervisors and daemon; the other packages of sql do not know it."""
