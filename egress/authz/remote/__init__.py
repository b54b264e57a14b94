"""The client of the authorization service."""
