"""Authorization: the client of the authorization service, the embedded policy, and the wrappers common to both."""
