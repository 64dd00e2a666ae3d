"""The running parts: units, their keepers, intake, recorder, janitor, health."""
