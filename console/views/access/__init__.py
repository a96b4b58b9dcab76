"""Screens of users, groups, policies, grants and invitations."""
