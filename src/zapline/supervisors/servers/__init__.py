"""Several Evolution servers: a client and a watch for each, who lives where, and the move of a unit."""
