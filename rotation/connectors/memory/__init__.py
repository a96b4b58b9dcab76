"""Simulated hosts, which exist in memory only."""
