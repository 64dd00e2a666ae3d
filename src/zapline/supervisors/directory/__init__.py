"""Asks WhatsApp about numbers, contacts and groups, no faster than it lets a line ask, and remembers the answers."""
