"""Reads for the API and the console: conversations, messages, the inbox, and what needs a person.

The top of sql: may import all packages of sql, and none of them imports it."""
