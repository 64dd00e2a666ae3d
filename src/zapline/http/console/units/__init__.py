"""The overview and the pages of a unit's line; the pages of messages and settings import them."""
