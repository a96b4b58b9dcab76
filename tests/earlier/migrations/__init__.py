"""The migrations of console, in two."""
