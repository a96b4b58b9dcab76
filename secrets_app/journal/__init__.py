"""The credential journal: each value that a host is about to hear, in a place outside the database."""
