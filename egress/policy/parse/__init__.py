"""The parsers of policies in TOML.  Pure."""
