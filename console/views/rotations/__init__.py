"""Screens of runs."""
