"""Managed accounts: the only room that changes a secret together with its instance."""
