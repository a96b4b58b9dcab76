"""Tell people what happened: by mail and webhook, from the audit trail."""
