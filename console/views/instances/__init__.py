"""Screens of instances."""
