"""The composition root: settings, logs, signals, systemd, command line."""
