"""Screens of secrets, and of what is done to one."""
