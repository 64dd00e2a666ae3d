"""The overview and the pages of a unit's line.

The pages of a unit's messages and settings import it for paths, status and time zones.
"""
