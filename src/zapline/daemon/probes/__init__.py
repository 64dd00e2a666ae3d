"""What ``zapline doctor`` looks at: this machine, the database, Evolution, and the way between them."""
