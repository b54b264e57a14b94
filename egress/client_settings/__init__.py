"""The settings that make programs use a proxy: variables, and the syntaxes in which they are written."""
