"""Hosts that speak SSH, with a management account and sudo."""
