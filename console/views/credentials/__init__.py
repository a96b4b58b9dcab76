"""Screens of management credentials."""
