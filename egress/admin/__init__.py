"""The admin API, and what serves it."""
