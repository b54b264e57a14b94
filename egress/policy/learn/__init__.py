"""The generation of policies and lock files from recorded traffic.  Pure."""
