"""What WhatsApp knows: which numbers are there, who a unit's contacts are, and its groups."""
