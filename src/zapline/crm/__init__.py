"""Delivery of webhooks to the CRM over HTTP. Only ``supervisors`` and the packages above import it."""
