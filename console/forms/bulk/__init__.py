"""Forms of bulk actions."""
