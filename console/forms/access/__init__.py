"""Forms of users, groups, policies, grants and invitations."""
