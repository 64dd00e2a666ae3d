"""Models and operations. Generated from docs/openapi.json by clients/generate.py: do not edit."""
