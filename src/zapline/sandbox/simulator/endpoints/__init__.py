"""One function for each endpoint of Evolution, and the control endpoints; for ``server``."""
