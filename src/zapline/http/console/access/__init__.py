"""Decides who reaches which page of the console, and with which units. Imported by everything in the console."""
