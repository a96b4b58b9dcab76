"""Fetch with permission: what a request asks for, and what its user may see or do."""
