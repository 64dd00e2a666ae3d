"""Probes, ``/health`` and ``/metrics``. Imported by ``http.app`` alone."""
