"""The CRM: how it is told what happened."""
