"""The options and the configuration: definitions, and readers for the command line, the environment and files."""
