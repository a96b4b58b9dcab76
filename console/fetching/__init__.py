"""Fetch by principal: what somebody may see and do, without a request; for screens and interfaces alike."""
