"""Routes of live events and of webhooks to the CRM. Imported by ``http.app``, ``http.dependencies`` and the console."""
