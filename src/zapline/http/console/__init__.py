"""The operators' console: HTML pages below ``/console``, one package for each family; only ``http.app`` imports it."""
