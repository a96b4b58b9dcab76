"""Screens of keys."""
