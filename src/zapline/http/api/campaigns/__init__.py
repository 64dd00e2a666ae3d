"""Routes of campaigns, their recipients, and suppressions. Imported by ``http.app`` and the console."""
