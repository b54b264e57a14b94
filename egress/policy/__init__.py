"""The embedded policy: rules, kinds of addresses, paths as servers read them, and how rules are read from a file."""
