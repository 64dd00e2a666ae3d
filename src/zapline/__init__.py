"""Zapline: a reliable WhatsApp line for every unit of a business."""

__version__ = "0.3.0"
