"""Routes of units: their line, settings, pace and QR code. Imported by ``http.app``, the console and the daemon."""
