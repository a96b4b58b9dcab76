"""Forms of secrets."""
