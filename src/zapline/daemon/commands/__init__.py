"""The commands of ``zapline``, one module for each thing they act on. Imported by ``daemon.cli`` alone."""
