"""Screens of bulk actions: the question before one, its progress, and the bell."""
