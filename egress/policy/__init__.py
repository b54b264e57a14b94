"""The embedded policy: rules, the address guard, and how they are read.  Nothing here does I/O but reading a file."""
