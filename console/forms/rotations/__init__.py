"""Forms of the list of runs."""
