"""The overview, and the first steps."""
