"""The admin API and its backends."""
