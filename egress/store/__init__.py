"""The audit store: audit records in a database that can be searched."""
