"""Screens of the help."""
