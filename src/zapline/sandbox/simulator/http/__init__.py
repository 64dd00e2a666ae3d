"""HTTP connections, requests and responses; imports nothing else of the simulator."""
