"""The pages of the console, one module each; L{egress.console} explains how to add one."""
