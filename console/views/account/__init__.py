"""Screens of one's own account, and of signing in."""
