"""The HTTP side: webhook intake, API, console, probes and metrics. Imported by ``daemon`` alone."""
