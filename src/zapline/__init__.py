"""Zapline: a reliable WhatsApp line for every unit of a business."""

import zoneinfo

__version__ = "0.3.0"

# One source for the rules of time zones: the package tzdata that is pinned, not what the system happens to have.
zoneinfo.reset_tzpath(to=())
