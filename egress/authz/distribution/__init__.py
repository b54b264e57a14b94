"""The distribution of a policy: a server has it, and the proxy keeps the last good version."""
