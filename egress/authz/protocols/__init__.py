"""The protocols of authorization services. Pure."""
