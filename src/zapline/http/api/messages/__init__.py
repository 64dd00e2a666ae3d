"""Routes of conversations, messages, media, uploads, dead letters. Imported by ``http.app``, the console, campaigns."""
