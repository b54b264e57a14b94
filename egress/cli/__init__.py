"""The subcommands of C{egress}, each in a module of its own."""
