"""The JSON API. ``<resource>.py`` has a resource's routes, documentation and schemas; long schemas are beside it, in
``<resource>_requests.py`` and ``<resource>_responses.py``. Imported by ``http`` and ``daemon.composition``.
"""
