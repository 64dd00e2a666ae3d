"""A simulated Evolution server with its WhatsApp and phones; for the sandbox and the tests."""
