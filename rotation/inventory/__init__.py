"""Instances, their host keys, and the credentials that Keyturn works with there."""
