"""The diagnosis of a setup: requests of each runtime through the proxy, checks of the machine, and the fixes."""
