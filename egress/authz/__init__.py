"""Who decides: the authorization service by its contract, the embedded policy, and what is common to both."""
