"""Authorization by a service."""
