"""Routes of tokens, the audit log, and the export and erasure of people. Imported by ``http.app`` and the console."""
