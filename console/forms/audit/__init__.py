"""Forms of the audit trail."""
