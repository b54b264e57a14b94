"""The policy templates of the package, and their combination into one policy."""
