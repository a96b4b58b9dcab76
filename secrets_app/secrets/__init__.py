"""Secrets: their life, their versions and labels, and what must hold before a value is shown."""
