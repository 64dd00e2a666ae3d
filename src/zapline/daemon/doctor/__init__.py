"""``zapline doctor``: checks of an installation, with verdicts and next steps. Imported by ``daemon.cli`` alone."""
