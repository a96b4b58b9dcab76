"""What several things add up to: the overview, the access review, what a policy reaches."""
