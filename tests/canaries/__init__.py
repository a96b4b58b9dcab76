"""Unique values go through every flow, failures included, and are looked for wherever they must not be."""
