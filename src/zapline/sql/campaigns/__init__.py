"""Campaigns, their recipients, and the queueing of their messages.

Imports postgres; imported by inbound and by the packages above sql."""
