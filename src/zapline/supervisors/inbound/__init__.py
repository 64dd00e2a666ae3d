"""From an accepted webhook to committed rows: intake, dispatcher, mailbox, recorder, and media files.

Imported by the rooms of supervisors above (units, reconciliation, outbound, ...), http and daemon."""
