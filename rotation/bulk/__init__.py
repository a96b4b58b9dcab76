"""Bulk actions: one confirmed action on many rows, done row by row in the background."""
