"""Processes: how they start, listen, log, monitor each other and stop."""
