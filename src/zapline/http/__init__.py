"""The HTTP side: webhook intake, the API, probes and metrics."""
