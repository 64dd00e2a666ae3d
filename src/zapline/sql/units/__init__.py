"""Units with their lines, totals, control requests and the import from the old system.

Imports postgres; imported by health and by the packages above sql."""
