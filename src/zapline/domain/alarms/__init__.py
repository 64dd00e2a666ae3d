"""Alarms: which troubles are one incident, what is said of it and when, and to whom. Pure."""
