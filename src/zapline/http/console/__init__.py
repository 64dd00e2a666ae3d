"""The operators' console: HTML pages below ``/console``, one package for each family of pages.

Only ``http.app`` imports it; its pages use the API's modules, the supervisors and sql.
"""
