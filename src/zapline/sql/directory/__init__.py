"""What WhatsApp knows of numbers, contacts and groups, as far as a unit has asked."""
