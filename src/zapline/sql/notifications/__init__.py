"""Webhooks to the CRM and their deliveries.

Imports postgres; imported by the packages above sql."""
