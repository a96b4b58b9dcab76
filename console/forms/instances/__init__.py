"""Forms of instances."""
