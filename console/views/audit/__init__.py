"""Screens of the audit trail."""
