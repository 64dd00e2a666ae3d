"""Several daemons that share the units: who owns which, and how a webhook reaches its owner."""
