"""Forms of management credentials."""
