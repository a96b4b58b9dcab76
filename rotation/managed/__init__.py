"""Managed accounts: the only entry where secrets and instances move together."""
