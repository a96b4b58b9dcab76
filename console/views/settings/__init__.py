"""Screens of the settings of this installation."""
