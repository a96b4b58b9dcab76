"""Fetch by principal: what a principal may see and do, without a request; for screens and interfaces."""
