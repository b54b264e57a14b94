"""Options: what they are, and reading them from the command line, the environment and files."""
