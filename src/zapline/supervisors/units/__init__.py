"""Units: the roster that maps webhooks to units, one actor per unit, and the commands that change units.

Imported by the rooms of supervisors above (reconciliation, outbound, ...), http and daemon."""
