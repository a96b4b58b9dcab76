"""Who there is: users, groups, invitations, identities at a provider, second factors."""
