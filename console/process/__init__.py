"""Processes: how they start, listen, log, watch each other and end."""
