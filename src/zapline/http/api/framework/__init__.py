"""What all resources of the API share: the route table, authentication, JSON bodies, paging, problems, audit trail.

Imported by the resources beside it, the console, the probes, ``http.app`` and ``http.dependencies``.
"""
