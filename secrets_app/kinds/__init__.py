"""Kinds of credential: a module for each kind, and the table of them."""
