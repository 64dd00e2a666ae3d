"""The commands of ``zapline``, one module for each thing they act on."""
