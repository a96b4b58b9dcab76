"""The audit trail: written, chained, signed, verified, and what an older database does to it."""
