"""Unique values go through every flow, failures included, and are then looked for wherever they must not be."""
